// What is asked about: an image that is dropped, chosen or pasted; a row that is typed; an entity that is named.
// Each gives an element and `request()`, what fetch is to send, or null while there is nothing.

import { make } from "/static/elements.js";

export function imageInput(project, onChange) {
  let file = null;
  const words = make("span", {}, "Drop an image here, paste one, or press Enter to choose a file");
  const picture = make("img", { alt: "The image that is asked about", hidden: true });
  const chooser = make("input", { type: "file", accept: "image/*", onchange: () => take(chooser.files[0]) });
  const zone = make("label", {
    class: "drop",
    ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
    ondragleave: () => zone.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); zone.classList.remove("over"); take(event.dataTransfer.files[0]); },
  }, chooser, picture, words);
  chooser.addEventListener("keydown", (event) => event.key === "Enter" && chooser.click());
  document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));

  function take(given) {
    if (!given) return;
    if (picture.src) URL.revokeObjectURL(picture.src);
    file = given;
    picture.src = URL.createObjectURL(given);
    picture.hidden = false;
    words.textContent = `${given.name} · ${Math.ceil(given.size / 1024)} KiB`;
    onChange();
  }

  // Without a type of its own it is bytes; the decoder looks at them anyway.
  const type = () => (file.type.startsWith("image/") ? file.type : "application/octet-stream");
  const { height, width, channels } = project.image;
  const size = `The model sees ${width} × ${height} pixels, ${channels === 1 ? "grey" : "in colour"}.`;
  return {
    element: make("div", {}, zone, make("p", { class: "soft" }, size)),
    request: () => file && { method: "POST", headers: { "content-type": type() }, body: file },
    curl: () => `-H 'content-type: ${file ? type() : "image/png"}' --data-binary @${file ? file.name : "image.png"}`,
  };
}

export function rowInput(project) {
  const fields = project.columns.map((column, place) => (
    columnField(column, `column-${place}`, project.example?.[column.name] ?? null)));
  const row = () => Object.fromEntries(fields.map(({ name, value }) => [name, value()]).filter(([, v]) => v !== null));
  const body = () => JSON.stringify({ instances: [row()] });
  const button = (title, act) => make("button", { type: "button", onclick: () => fields.forEach(act) }, title);
  const fill = button("Typical row", (each) => each.typical());
  const clear = button("Empty", (each) => each.set(null));
  return {
    element: make("div", {}, make("div", { class: "fields" }, ...fields.map((each) => each.element)),
      make("div", { class: "buttons" }, fill, clear)),
    ...json(body),
  };
}

export function entityInput(project) {
  const field = make("input", { id: "entity", autocomplete: "off", required: true });
  const hours = project.entities.ttl_hours;
  const words = hours ? `Values older than ${hours} hours count as expired.` : "Values of any age are taken.";
  return {
    element: make("div", { class: "wide" }, make("label", { for: "entity" }, "The entity's id"), field,
      make("p", { class: "soft" }, `Its newest features are looked up in the Feast online store. ${words}`)),
    ...json(() => (field.value ? JSON.stringify({ entities: [field.value] }) : "")),
  };
}

function json(body) {
  const headers = { "content-type": "application/json" };
  const quoted = () => body().replaceAll("'", "'\\''");
  return {
    request: () => (body() ? { method: "POST", headers, body: body() } : null),
    curl: () => `-H 'content-type: application/json' -d '${quoted()}'`,
  };
}

function columnField(column, id, typical) {
  const control = controlOf(column, id);
  const set = (value) => { control.value = value === null ? "" : String(value); };
  set(typical);
  const label = make("label", { for: id }, `${column.name}${column.nullable ? "" : " *"}`);
  const wide = column.type === "text" ? "wide" : "";
  return {
    name: column.name,
    element: make("div", { class: wide }, label, control),
    typical: () => set(typical),
    set,
    value: () => (control.value === "" ? null : typed(column.type, control.value)),
  };
}

function controlOf(column, id) {
  const required = !column.nullable;
  if (column.type === "text") return make("textarea", { id, rows: 4, required });
  if (column.type === "boolean")
    return make("select", { id, required }, ...["", "true", "false"].map((v) => make("option", { value: v }, v)));
  const placeholder = column.type === "time" ? "2026-01-31T12:00:00Z" : "";
  return make("input", { id, required, placeholder, inputmode: column.type === "number" ? "decimal" : "text" });
}

function typed(type, text) {
  if (type === "boolean") return text === "true";
  return type === "number" && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
