// Elements from words: texts are never read as HTML, whatever a class, a column or an answer is called.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function card(title, ...children) {
  return make("section", { class: "card" }, make("h2", {}, title), ...children);
}

export function definitions(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", {}, ...known.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, String(value))]));
}

export function number(value) {
  const whole = Number.isInteger(value) || Math.abs(value) >= 1000;
  return whole ? value.toLocaleString("en", { maximumFractionDigits: 2 }) : Number(value.toPrecision(4)).toString();
}

export function percent(share) {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}
