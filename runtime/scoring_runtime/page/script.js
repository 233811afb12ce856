"use strict";

// Shows the model, sends what the reader wrote, and shows the answer. It knows nothing but what ./ui/model tells, and
// talks to this server alone, with paths relative to its own, so that it works behind any prefix.

const MOST_ROWS = 200;
const MOST_BARS = 10;
const WAIT_MILLISECONDS = 2000;
const SHARE_NAMES = /prob|score|confidence|likelihood/i;

const byId = (id) => document.getElementById(id);
let credential = "";
let model = null;
let busy = false;
let retry = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function call(path, options = {}) {
  const headers = { ...options.headers };
  if (credential) headers.Authorization = `Bearer ${credential}`;
  return fetch(new URL(path, location.href), {
    ...options, headers, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// The server's own words, in whichever form the protocol writes them.
function messageOf(text, status) {
  const said = parsed(text);
  const error = said && typeof said === "object" ? said.error ?? said : null;
  const message = typeof error === "string" ? error : error && error.message;
  return typeof message === "string" && message ? message : text.trim().slice(0, 500) || `The server answered ${status}.`;
}

// ---- the model ----------------------------------------------------------------------------------------------------

async function start() {
  clearTimeout(retry);
  let response, text;
  try {
    response = await call("ui/model");
    text = await response.text();
  } catch {
    return again("The server cannot be reached.");
  }
  if (response.status === 401 || response.status === 403) return ask(messageOf(text, response.status));
  if (!response.ok) return again(messageOf(text, response.status));
  model = parsed(text);
  byId("access").hidden = true;
  show();
}

function again(message) {
  byId("about").textContent = `${message} Trying again…`;
  retry = setTimeout(start, WAIT_MILLISECONDS);
}

function ask(why) {
  byId("access").hidden = false;
  byId("access-why").textContent = credential ? why : "This server wants a key or a token.";
  if (!model) byId("about").textContent = "Not shown without a key or a token.";
  byId("credential").focus();
}

function show() {
  document.title = model.name;
  byId("name").textContent = model.name;
  byId("about").textContent = `Version ${model.version} · ${model.platform || model.framework}`;
  tensors(byId("inputs"), model.inputs);
  tensors(byId("outputs"), model.outputs);
  const method = byId("method");
  method.replaceChildren(...model.methods.map((name) => element("option", { value: name, textContent: name })));
  byId("method-field").hidden = model.methods.length < 2;
  byId("file-field").hidden = !model.image;
  byId("body-note").textContent = note();
  const body = byId("body");
  if (!body.value && model.sample !== null) body.value = written(model.sample);
  body.rows = Math.min(Math.max(body.value.split("\n").length + 1, 5), 24);
  for (const id of ["model", "request"]) byId(id).hidden = false;
}

function note() {
  if (model.image) return 'Instead of a file, for one or more images: {"data": ["their files in base64"]}.';
  if (model.sample === null) return "The model says too little of its input for an example.";
  if (JSON.stringify(model.sample).includes("null")) return "An example; null is a missing value: write the values in its place.";
  return "An example; change it as you like.";
}

function tensors(body, list) {
  const head = element("tr", {}, ...["Name", "Type", "Shape"].map((text) => element("th", { scope: "col", textContent: text })));
  const rows = list.map((one) => element("tr", {},
    element("td", { textContent: one.name }),
    element("td", { textContent: one.type || "not said" }),
    element("td", { textContent: one.shape.length ? one.shape.map((n) => (n < 0 ? "any" : n)).join(" × ") : "not said" })));
  body.replaceChildren(...(rows.length ? [head, ...rows] : [element("tr", {}, element("td", { textContent: "The model does not say." }))]));
}

// JSON with short lists on one line each.
function written(value) {
  const inner = JSON.stringify(value, null, 2);
  return inner.replace(/\[\s+([^[\]{}]*?)\s+\]/g, (whole, cells) => `[${cells.replace(/\s*\n\s*/g, " ")}]`);
}

// ---- a request ----------------------------------------------------------------------------------------------------

async function bodyToSend() {
  const file = byId("file").files[0];
  const method = byId("method").value;
  const own = model.methods.length > 1 && method !== model.methods[0] ? { method } : {};
  if (model.image && file) {
    if (!("method" in own)) return { type: file.type || "image/unknown", body: file };
    return { type: "application/json", body: JSON.stringify({ data: [await base64(file)], ...own }) };
  }
  const text = byId("body").value;
  const value = parsed(text);
  const object = value && typeof value === "object" && !Array.isArray(value);
  return { type: "application/json", body: "method" in own && object ? JSON.stringify({ ...value, ...own }) : text };
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.replace(/^[^,]*,/, ""));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function send(event) {
  event.preventDefault();
  if (busy) return;
  setBusy(true);
  const started = performance.now();
  try {
    const request = await bodyToSend();
    const response = await call("score", { method: "POST", headers: { "Content-Type": request.type }, body: request.body });
    const text = await response.text();
    byId("curl").textContent = asCurl(request);
    finish(response, text, performance.now() - started);
  } catch {
    failed("The server cannot be reached.", "");
  } finally {
    setBusy(false);
  }
}

function setBusy(now) {
  busy = now;
  byId("send").setAttribute("aria-disabled", String(now));
  byId("answer").setAttribute("aria-busy", String(now));
}

function finish(response, text, milliseconds) {
  const own = response.headers.get("x-ms-run-fn-exec-ms");
  const id = response.headers.get("x-request-id");
  const parts = [`Status ${response.status}`, `${milliseconds.toFixed(0)} ms`];
  if (own) parts.push(`${Number(own).toFixed(1)} ms of these in the model and its queue`);
  if (id) parts.push(`request ${id}`);
  const outcome = parts.join(" · ");
  if (!response.ok) {
    failed(messageOf(text, response.status), outcome, text);
    if (response.status === 401) ask(messageOf(text, response.status));
    return;
  }
  const value = parsed(text);
  answered(outcome, value === undefined ? text : JSON.stringify(value, null, 1), false);
  byId("result").replaceChildren(...(value === undefined ? [element("pre", { textContent: text })] : rendered(value)));
}

function answered(outcome, raw, bad) {
  const section = byId("answer");
  section.hidden = false;
  section.classList.toggle("failed", bad);
  byId("outcome").textContent = outcome;
  byId("raw").textContent = raw;
  byId("raw-field").hidden = !raw;
}

function failed(message, outcome, raw = "") {
  answered(outcome, raw, true);
  byId("result").replaceChildren(element("p", { className: "message", role: "alert", textContent: message }));
}

function asCurl(request) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl ${quoted(new URL("score", location.href).href)}`];
  if (model.secured) lines.push("-H 'Authorization: Bearer KEY'");
  lines.push(`-H ${quoted(`Content-Type: ${request.type}`)}`);
  lines.push(typeof request.body === "string" ? `-d ${quoted(request.body)}` : `--data-binary @${quoted(request.body.name)}`);
  return lines.join(" \\\n  ");
}

// ---- an answer ----------------------------------------------------------------------------------------------------

const isScalar = (value) => value === null || typeof value !== "object";
const isShare = (value) => typeof value === "number" && value >= 0 && value <= 1;
const isRecord = (value) => !isScalar(value) && !Array.isArray(value) && Object.values(value).every(isScalar);
const isLabelled = (row) => Array.isArray(row) && row.length > 0 && row.every((one) => isRecord(one) && "label" in one && isShare(one.probability));
const areShares = (row) => Array.isArray(row) && row.length > 1 && row.every(isShare) && Math.abs(row.reduce((sum, one) => sum + one, 0) - 1) < 0.01;

function rendered(value) {
  if (Array.isArray(value) && value.length) {
    if (value.every(isLabelled)) {
      return value.flatMap((row, number) => ranking(row.map((one) => [String(one.label), one.probability]), number, value.length));
    }
    if (value.length <= 3 && value.every(areShares)) {
      return value.flatMap((row, number) => ranking(row.map((share, index) => [`class ${index}`, share]), number, value.length));
    }
    if (value.every(isScalar)) return [table(["answer"], value.map((one) => [one]))];
    if (value.every((row) => Array.isArray(row) && row.every(isScalar))) {
      const width = Math.max(...value.map((row) => row.length));
      return [table(Array.from({ length: width }, (_, index) => String(index)), value)];
    }
    if (value.every(isRecord)) return [ofRecords(value)];
  }
  if (!isScalar(value) && !Array.isArray(value)) {
    const names = Object.keys(value), columns = Object.values(value);
    const size = Array.isArray(columns[0]) ? columns[0].length : -1;
    if (size > 0 && columns.every((column) => Array.isArray(column) && column.length === size && column.every(isScalar))) {
      return [table(names, columns[0].map((_, row) => columns.map((column) => column[row])))];
    }
    // One list of records inside an object is what many entry scripts answer.
    if (names.length && columns.every((one) => Array.isArray(one) && one.length && one.every(isRecord))) {
      return names.flatMap((name) => [element("h3", { textContent: name }), ofRecords(value[name])]);
    }
    if (names.length && columns.every(isScalar)) return [table(["field", "value"], Object.entries(value), false)];
  }
  return [element("pre", { textContent: JSON.stringify(value, null, 1), tabIndex: 0 })];
}

function ofRecords(records) {
  const names = [...new Set(records.flatMap(Object.keys))];
  return table(names, records.map((one) => names.map((name) => one[name] ?? null)));
}

function track(share) {
  const bar = element("div", { className: "bar" });
  bar.style.width = `${share * 100}%`;
  const around = element("div", { className: "track" }, bar);
  around.setAttribute("aria-hidden", "true");
  return around;
}

function ranking(pairs, number, count) {
  const best = [...pairs].sort((one, other) => other[1] - one[1]).slice(0, MOST_BARS);
  const list = element("ol", { className: "ranking" }, ...best.map(([label, share]) => element("li", {},
    element("span", { className: "label", textContent: label }),
    track(share),
    element("span", { className: "share", textContent: `${(share * 100).toFixed(1)} %` }))));
  list.setAttribute("aria-label", count > 1 ? `Row ${number + 1}, the likeliest first` : "The likeliest first");
  const parts = count > 1 ? [element("h3", { textContent: `Row ${number + 1}` }), list] : [list];
  if (pairs.length > MOST_BARS) parts.push(element("p", { className: "note", textContent: `${pairs.length - MOST_BARS} more are in the JSON below.` }));
  return parts;
}

function table(names, rows, numbered = true) {
  const shares = names.map((name, column) => SHARE_NAMES.test(name) && rows.every((row) => isShare(row[column])));
  const numbers = names.map((_, column) => rows.every((row) => row[column] === null || typeof row[column] === "number"));
  const title = (text, number = false) => element("th", { scope: "col", textContent: text, className: number ? "number" : "" });
  const head = element("tr", {}, ...(numbered ? [title("row")] : []), ...names.map((name, column) => title(name, numbers[column] && !shares[column])));
  const body = rows.slice(0, MOST_ROWS).map((row, number) => element("tr", {},
    ...(numbered ? [element("th", { scope: "row", textContent: String(number + 1) })] : []),
    ...names.map((_, column) => cell(row[column], numbers[column] && !shares[column], shares[column]))));
  const whole = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  const parts = [whole];
  if (rows.length > MOST_ROWS) parts.push(element("p", { className: "note", textContent: `${rows.length - MOST_ROWS} more rows are in the JSON below.` }));
  const around = element("div", { className: "wide", tabIndex: 0, role: "region" }, ...parts);
  around.setAttribute("aria-label", "The answer as a table");
  return around;
}

function cell(value, number, share) {
  const text = value === null || value === undefined ? "null" : typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value);
  return element("td", { className: number ? "number" : "" }, text, ...(share ? [track(value)] : []));
}

// ---- what the reader does -------------------------------------------------------------------------------------------

byId("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  credential = byId("credential").value.trim().replace(/^bearer\s+/i, "");
  byId("credential").value = "";
  start().then(() => {
    if (model && byId("access").hidden) byId("request").focus();
  });
});
byId("request-form").addEventListener("submit", send);
byId("body").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(event);
});
byId("file").addEventListener("change", () => {
  const preview = byId("preview"), file = byId("file").files[0];
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.hidden = !file;
  if (file) preview.src = URL.createObjectURL(file);
});
start();
