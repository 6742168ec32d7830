// Predictions and explanations as bars and pictures.

import { make, number, percent } from "/static/elements.js";

export function prediction(found) {
  if (found.top === undefined) return make("p", { class: "verdict" }, number(found.value));
  const bars = found.top.map(({ label, probability }) => bar(label, percent(probability), (fill) => {
    fill.style.width = `${probability * 100}%`;
  }));
  return make("div", {}, make("p", { class: "verdict" }, found.label), make("ul", { class: "bars" }, ...bars));
}

export function explanation(found) {
  const about = found.label === undefined ? number(found.value) : `${found.label} (${percent(found.probability)})`;
  const title = make("h3", {}, `Why ${about}`);
  return make("div", {}, title, found.method === "occlusion" ? heat(found) : shares(found));
}

function heat(found) {
  const source = `data:image/png;base64,${found.heatmap}`;
  const strongest = Math.max(...found.grid.flat());
  const words = [
    make("span", { class: "key-for" }, "Red"), " places speak for the answer, ",
    make("span", { class: "key-against" }, "blue"), " ones against it. The strongest: covered, it takes ",
    make("strong", {}, percent(Math.max(0, strongest))), " off the probability.",
  ];
  return make("div", { class: "heat" },
    make("img", { src: source, alt: `Which places of the image speak for ${found.label}` }),
    make("p", { class: "soft" }, ...words));
}

function shares(found) {
  const most = Math.max(...found.contributions.map((each) => Math.abs(each.contribution)), 1e-12);
  const bars = found.contributions.slice(0, 12).map(({ column, value, contribution }) => {
    const sign = contribution < 0 ? "against" : "for";
    return bar(`${column} = ${short(value)}`, signed(contribution), (fill) => {
      fill.classList.add(sign);
      fill.style.width = `${(Math.abs(contribution) / most) * 50}%`;
      fill.style[sign === "for" ? "left" : "right"] = "50%";
    });
  });
  const all = found.contributions.length;
  const words = `What each value adds to the ${number(found.typical)} of a typical row.`;
  return make("div", {}, make("ul", { class: "bars signed" }, ...bars),
    make("p", { class: "soft" }, all > 12 ? `${words} The 12 largest of ${all}.` : words), ...texts(found.words ?? {}));
}

function texts(words) {
  return Object.entries(words).map(([column, each]) => {
    const most = Math.max(...each.map(({ contribution }) => Math.abs(contribution)), 1e-12);
    const spans = each.flatMap(({ word, contribution }) => {
      const span = make("span", { title: signed(contribution) }, word);
      const colour = contribution < 0 ? "var(--against)" : "var(--for)";
      const strength = Math.round((Math.abs(contribution) / most) * 45);
      span.style.background = `color-mix(in srgb, ${colour} ${strength}%, transparent)`;
      return [span, " "];
    });
    return make("p", { class: "words", "aria-label": `Words of ${column}` }, ...spans);
  });
}

function bar(name, figure, size) {
  const fill = make("div", { class: "fill" });
  size(fill);
  return make("li", {}, make("span", { class: "name", title: name }, name), make("div", { class: "track" }, fill),
    make("span", { class: "figure" }, figure));
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${number(Math.abs(value))}`;
}

function short(value) {
  const text = String(value);
  return text.length > 24 ? `${text.slice(0, 24)}…` : text;
}
