// The page of a project, or of all of them: what is live, a form to ask it, and how a program asks.

import { explanation, prediction } from "/static/answers.js";
import { card, definitions, make, number } from "/static/elements.js";
import { ask, askJson, keyHeader, shown } from "/static/endpoint.js";
import { entityInput, imageInput, rowInput } from "/static/inputs.js";

const main = document.getElementById("main");
const name = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const MOST = 10;

async function show() {
  try {
    const { projects } = await ask("/");
    navigation(projects);
    if (!name) return overview(projects);
    document.title = `${name} · Updraft endpoint`;
    const [project, openapi] = await Promise.all([ask(`/v1/${name}`), ask("/openapi.json")]);
    main.replaceChildren(...page(project, openapi));
  } catch (problem) {
    main.replaceChildren(make("h1", {}, name || "Updraft"), shown(problem));
  }
}

function navigation(projects) {
  const links = Object.entries(projects).map(([each, version]) => make("a", {
    href: `/docs/${each}`, class: version === null ? "idle" : "", "aria-current": each === name ? "page" : false,
  }, each));
  document.getElementById("projects").replaceChildren(...links);
}

function overview(projects) {
  const rows = Object.entries(projects).map(([each, version]) => make("tr", {},
    make("td", {}, make("a", { href: `/docs/${each}` }, each)),
    make("td", {}, version === null ? "no model yet" : `version ${version}`)));
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "Project"), make("th", {}, "Live"))),
    make("tbody", {}, ...rows));
  const words = make("p", { class: "lead" }, "Every project has a page to try its live model. For programs: ",
    make("a", { href: "/openapi.json" }, "openapi.json"), ".");
  main.replaceChildren(make("h1", {}, "What is served here"), words, card("Projects", table));
}

function page(project, openapi) {
  const task = project.task === "regression" ? "predicts a number" : `tells ${project.classes.length} classes apart`;
  const lead = `Version ${project.version} ${task}, from ${project.image ? "an image" : "a row of a table"}.`;
  const [form, answer, curl] = trial(project);
  return [
    make("h1", {}, project.project), make("p", { class: "lead" }, lead),
    make("div", { class: "grid" },
      make("div", { class: "column" }, form, card("From a program", curl)), make("div", { class: "column" }, answer)),
    make("div", { class: "grid" }, model(project), measured(project)),
    routes(project, openapi),
  ];
}

function trial(project) {
  const curl = make("pre", { tabindex: 0 });
  const told = make("div", { "aria-live": "polite" },
    make("p", { class: "soft" }, "The answer appears here."));
  const write = () => {
    curl.textContent = `curl -s ${keyHeader()}${input.curl()} \\\n  ${location.origin}/v1/${project.project}/predict`;
  };
  const kinds = project.image ? [["Image", imageInput(project, () => send("predict"))]]
    : [["Row", rowInput(project)], ...(project.entities ? [["Entity", entityInput(project)]] : [])];
  let input = kinds[0][1];

  async function send(what, label) {
    if (!form.reportValidity() || !input.request()) return;
    write();
    buttons.forEach((each) => { each.disabled = true; });
    try {
      await (what === "predict" ? predict() : explain(label));
    } catch (problem) {
      (what === "predict" ? told : told.querySelector(".why") ?? told).replaceChildren(shown(problem));
    }
    buttons.forEach((each) => { each.disabled = false; });
    explainer.disabled = input === kinds[1]?.[1];
  }

  async function predict() {
    const count = Math.min(project.classes.length, MOST);
    const started = performance.now();
    const answer = await ask(`/v1/${project.project}/predict${count ? `?top_k=${count}` : ""}`, input.request());
    const took = Math.round(performance.now() - started);
    const [found] = answer.predictions;
    const about = [`version ${answer.version}`, `${took} ms`, `request ${answer.request_id}`];
    if (found.event_time) about.push(`features of ${found.event_time}${found.expired ? ", expired" : ""}`);
    told.replaceChildren(prediction(found), make("p", { class: "soft" }, about.join(" · ")),
      make("div", { class: "why" }), feedback(project, answer.request_id, found));
  }

  async function explain(label) {
    if (!told.querySelector(".why")) await predict();
    const query = label ? `?label=${encodeURIComponent(label)}` : "";
    const { explanations } = await ask(`/v1/${project.project}/explain${query}`, input.request());
    const others = project.classes.length < 2 ? []
      : [chooser(project, explanations[0].label, (other) => send("explain", other))];
    told.querySelector(".why").replaceChildren(explanation(explanations[0]), ...others);
  }

  const explainer = make("button", { type: "button", onclick: () => send("explain") }, "Explain");
  const buttons = [make("button", { class: "main" }, "Predict"), explainer];
  const place = make("div", {}, input.element);
  const tabs = kinds.length < 2 ? null : tabList(kinds, (chosen) => {
    input = chosen;
    place.replaceChildren(input.element);
    explainer.disabled = input === kinds[1][1];
    write();
  });
  const form = make("form", {
    oninput: () => write(),
    onsubmit: (event) => { event.preventDefault(); send("predict"); },
  }, tabs, place, make("div", { class: "buttons" }, ...buttons));
  write();
  return [card("Ask", form), card("Answer", told), make("div", {}, curl, how(project))];
}

function tabList(kinds, onChosen) {
  const buttons = kinds.map(([title, kind]) => make("button", {
    type: "button", role: "tab", "aria-selected": kind === kinds[0][1] ? "true" : "false",
    onclick: (event) => {
      buttons.forEach((each) => each.setAttribute("aria-selected", String(each === event.currentTarget)));
      onChosen(kind);
    },
  }, title));
  return make("div", { class: "tabs", role: "tablist" }, ...buttons);
}

function chooser(project, chosen, onChosen) {
  const options = project.classes.map((label) => make("option", { selected: label === chosen }, label));
  const select = make("select", { onchange: () => onChosen(select.value) }, ...options);
  return make("div", { class: "feedback" }, make("label", {}, "Explain another class", select));
}

function feedback(project, requestId, found) {
  const numbers = !project.classes.length;
  const control = numbers ? make("input", { inputmode: "decimal", required: true })
    : make("select", {}, ...project.classes.map((each) => make("option", { selected: each === found.label }, each)));
  const told = make("span", { role: "status" });
  const form = make("form", {
    class: "feedback",
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        const label = numbers ? Number(control.value) : control.value;
        await askJson(`/v1/${project.project}/feedback`, { request_id: requestId, label });
        told.replaceChildren(make("span", { class: "done" }, "Noted, thank you."));
      } catch (problem) {
        told.replaceChildren(shown(problem));
      }
    },
  }, make("label", {}, "What it truly is", control), make("button", {}, "Send feedback"), told);
  return form;
}

function model(project) {
  return card("The model", definitions([
    ["Version", project.version],
    ["Package", project.package],
    ["Live since", new Date(project.since).toLocaleString()],
    ["Form", project.form],
    ["Runtime", project.runtime],
    ["Classes", project.classes.join(", ")],
    ["Request body", `up to ${number(project.limits.max_body_kib)} KiB`],
    ["Answers within", `${project.limits.timeout_seconds} s, or 503`],
  ]));
}

function measured(project) {
  const rows = Object.entries(project.metrics).filter(([, value]) => typeof value === "number")
    .map(([metric, value]) => make("tr", {}, make("th", { scope: "row" }, metric.replaceAll("_", " ")),
      make("td", { class: "number" }, number(value))));
  const body = rows.length ? make("table", {}, make("tbody", {}, ...rows))
    : make("p", { class: "soft" }, "This package does not say; its model card does.");
  return card("Measured on the held-out split", body);
}

function how(project) {
  const image = "Many at once: a multipart form with files, or JSON {\"instances\": [{\"image\": \"<base64>\"}, …]}.";
  const row = "Many at once: more rows in \"instances\".";
  return make("p", { class: "soft" }, project.image ? image : row,
    " Errors carry a code, a sentence that says what to do, and the request's id.");
}

function routes(project, openapi) {
  const mine = Object.entries(openapi.paths)
    .filter(([path]) => !path.startsWith("/v1/") || path.split("/")[2] === project.project)
    .filter(([path]) => !path.startsWith("/v2/models/") || path.split("/")[3] === project.project);
  const rows = mine.flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => make("tr", {},
    make("td", {}, make("code", {}, method.toUpperCase())), make("td", {}, make("code", {}, path)),
    make("td", {}, operation.summary ?? ""))));
  const more = make("p", { class: "soft" }, "Schemas, parameters and statuses: ",
    make("a", { href: "/openapi.json" }, "openapi.json"), " (OpenAPI 3.1).");
  return card("Routes", make("div", { class: "scroll" }, make("table", {}, make("tbody", {}, ...rows))), more);
}

show();
