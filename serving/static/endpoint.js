// Asking the endpoint, and saying what went wrong.

import { make } from "/static/elements.js";

const KEY = "updraft-api-key";
const field = document.getElementById("key");
field.value = sessionStorage.getItem(KEY) ?? "";
field.addEventListener("input", () => sessionStorage.setItem(KEY, field.value));

export class Problem extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, code: error.code, requestId: error.request_id });
  }
}

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (field.value) headers["x-api-key"] = field.value;
  let response, body;
  try {
    response = await fetch(path, { ...options, headers });
    body = await response.json();
  } catch (error) {
    throw new Problem(0, { code: "no_answer", message: `The endpoint gave no answer: ${error.message}` });
  }
  if (response.status === 401) field.closest("details").open = true;
  if (!response.ok) throw new Problem(response.status, body.error ?? { code: "error", message: response.statusText });
  return body;
}

// What curl sends beside the question: never the key itself, which is nobody's to read over a shoulder.
export function keyHeader() {
  return field.value ? '-H "X-API-Key: $UPDRAFT_API_KEY" ' : "";
}

export function askJson(path, value) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
}

export function shown(problem) {
  const detail = [problem.status || "", problem.code, problem.requestId && `request ${problem.requestId}`];
  return make("div", { class: "problem", role: "alert" }, make("div", {}, problem.message),
    make("div", { class: "soft" }, detail.filter(Boolean).join(" · ")));
}
