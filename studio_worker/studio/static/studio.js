"use strict";

/* The event stream only says what changed; the page fetches the parts that show it. */
const PARTS_OF = {
  job: ["queue", "results", "summary", "workers"],
  progress: ["queue"],
  worker: ["workers", "summary", "queue"],
  pending: ["pending"],
  model: ["models"],
  log: ["logs"],
};
const PAUSE_MS = 250;
const API = "/graphics/api";

const waiting = new Set();
let timer = null;

function changed(parts) {
  for (const part of parts) waiting.add(part);
  if (timer === null) timer = setTimeout(refresh, PAUSE_MS);
}

async function refresh() {
  const parts = [...waiting];
  waiting.clear();
  await Promise.all(parts.map(fetchPart));
  timer = waiting.size ? setTimeout(refresh, PAUSE_MS) : null;
}

async function fetchPart(name) {
  const place = document.querySelector(`[data-part="${name}"]`);
  if (!place) return;
  try {
    const answer = await fetch(`/parts/${name}`, { headers: { Accept: "text/html" } });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) return;
    merge(place, await answer.text());
  } catch {
    /* The stream notices a lost studio and says so. */
  }
}

/* Rows that did not change keep their elements, so that a sound goes on playing and the focus stays. */
function merge(place, html) {
  if (place.dataset.html === html) return;
  place.dataset.html = html;
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const list = place.querySelector("ol, ul");
  const freshList = fresh.content.querySelector("ol, ul");
  if (!list || !freshList || list.className !== freshList.className) {
    place.replaceChildren(fresh.content);
    return;
  }
  const kept = new Map([...list.children].map((row) => [row.outerHTML, row]));
  const focus = document.activeElement?.getAttribute("aria-label");
  list.replaceChildren(...[...freshList.children].map((row) => kept.get(row.outerHTML) ?? row));
  if (focus) place.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
}

function live(state, text) {
  document.getElementById("live").dataset.state = state;
  document.getElementById("live-text").textContent = text;
}

function listen() {
  const stream = new EventSource(`${API}/events`);
  stream.onopen = () => {
    live("on", "live");
    changed(Object.values(PARTS_OF).flat());
  };
  stream.onerror = () => live("off", "reconnecting");
  for (const [topic, parts] of Object.entries(PARTS_OF)) stream.addEventListener(topic, () => changed(parts));
}

let toastTimer = null;
function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (place.hidden = true), 8000);
}

async function ask(method, path, body) {
  try {
    const answer = await fetch(API + path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
    if (answer.ok) return true;
    const said = await answer.json().catch(() => ({}));
    toast(said.error || `The studio answered ${answer.status}`);
  } catch {
    toast("The studio cannot be reached");
  }
  return false;
}

function taskOf(kind, prompt) {
  if (kind === "llm") return { kind, messages: [{ role: "user", content: prompt }] };
  if (kind === "audio_tts") return { kind, text: prompt };
  if (kind === "video") return { kind, prompt, ext: "webp" };
  return { kind, prompt };
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post], button[data-delete]");
  if (!button) return;
  if (button.dataset.confirm && !confirm(button.dataset.confirm)) return;
  button.disabled = true;
  const done = await ask(button.dataset.post ? "POST" : "DELETE", button.dataset.post ?? button.dataset.delete);
  if (!done) button.disabled = false;
});

document.getElementById("new-job").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const { kind, model, prompt } = Object.fromEntries(new FormData(form));
  const job = { model, task: taskOf(kind, prompt) };
  if (model === "synthetic") job.modelSource = { engine: "synthetic", files: [], cliDefaults: {} };
  if (await ask("POST", "/jobs", job)) form.elements.prompt.value = "";
});

listen();
