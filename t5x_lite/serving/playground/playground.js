"use strict";
// The playground: asks the server that it came from, and nobody else.

const TEMPLATES = {
  "the text alone": "{dialogue}",
  "summarize": "Summarize the following conversation.\n\n{dialogue}\n\nSummary: ",
  "summarize in detail": "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: ",
  "what was going on": "\nDialogue:\n\n{dialogue}\n\nWhat was going on?\n",
  "a question": "{dialogue}\n\n{question}",
};
const EXAMPLE = {
  dialogue: "#Person1#: The train to Leeds is late again.\n#Person2#: How late is it?\n" +
    "#Person1#: An hour. Let us take the bus on Friday.\n#Person2#: Good idea, I will buy the tickets.",
  question: "Who will buy the tickets?",
};
const NUMBERS = ["max_tokens", "temperature", "top_p", "top_k", "seed", "repetition_penalty", "min_new_tokens", "num_beams"];
const by = (id) => document.getElementById(id);
let running = null; // an AbortController while answers come

function side(number) {
  const part = by("side").content.cloneNode(true).firstElementChild;
  part.querySelector("legend").textContent = number ? "Second" : "First";
  for (const button of part.querySelectorAll("[data-copy]"))
    button.addEventListener("click", () => copy(part, button.dataset.copy));
  part.addEventListener("input", showRequests);
  part.querySelector(".out").addEventListener("keydown", walk);
  by("sides").append(part);
  return part;
}

// A part in {name:+braces} is left out where the field is empty; {name} is its text.
const PART = /\{(\w+):\+((?:[^{}]|\{\w+\})*)\}/g;

function fieldsOf(template) { return [...new Set([...template.matchAll(/\{(\w+)(?:\}|:\+)/g)].map((found) => found[1]))]; }

function showFields() {
  const kept = Object.fromEntries([...by("fields").querySelectorAll("textarea")].map((one) => [one.name, one.value]));
  by("fields").replaceChildren(...fieldsOf(by("text").value).map((name) => {
    const label = document.createElement("label"), area = document.createElement("textarea");
    label.style.marginTop = ".6rem";
    area.name = name; area.value = kept[name] ?? EXAMPLE[name] ?? "";
    label.append(name, area);
    return label;
  }));
  showRequests();
}

function prompt() {
  const values = Object.fromEntries([...by("fields").querySelectorAll("textarea")].map((one) => [one.name, one.value]));
  const text = by("text").value.replace(PART, (whole, name, part) => (values[name] ?? "").trim() ? part : "");
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

function request(part) {
  const value = (name) => part.querySelector(`[data-name=${name}]`).value;
  const body = { model: value("model"), prompt: prompt() };
  for (const name of NUMBERS) if (value(name) !== "") body[name] = Number(value(name));
  if (body.temperature === 0) for (const name of ["top_p", "top_k", "seed"]) delete body[name];
  if (value("stop")) body.stop = value("stop");
  if (body.num_beams > 1) { if (!body.temperature) delete body.temperature; } else body.stream = true;
  if (by("shade").checked) body.logprobs = 5;
  return body;
}

function asCurl(body) {
  const key = by("key").value ? " -H \"Authorization: Bearer $T5X_LITE_API_KEY\"" : "";
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl ${location.origin}/v1/completions -H 'Content-Type: application/json'${key} -d '${quoted}'`;
}

function asPython(body) {
  const { stream, ...given } = body, known = ["model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs"];
  const words = (value) => JSON.stringify(value);
  const own = Object.entries(given).filter(([name]) => known.includes(name)).map(([name, value]) => `${name}=${words(value)}`);
  const others = Object.entries(given).filter(([name]) => !known.includes(name)).map(([name, value]) => `"${name}": ${words(value)}`);
  if (others.length) own.push(`extra_body={${others.join(", ")}}`);
  const key = by("key").value ? "os.environ[\"T5X_LITE_API_KEY\"]" : "\"none\"";
  return `${by("key").value ? "import os\n" : ""}from openai import OpenAI\n` +
    `print(OpenAI(base_url="${location.origin}/v1", api_key=${key}).completions.create(${own.join(", ")}).choices[0].text)`;
}

async function copy(part, kind) {
  const text = (kind === "curl" ? asCurl : asPython)(request(part));
  try { await navigator.clipboard.writeText(text); tell(part, "copied"); }
  catch { // without a secure context there is no clipboard: the text is selected instead
    part.querySelector("details").open = true;
    part.querySelector("pre").textContent = text;
    getSelection().selectAllChildren(part.querySelector("pre"));
    tell(part, "selected: copy it with your keys");
  }
}

function sides() { return [...document.querySelectorAll("#sides fieldset")].filter((part) => !part.hidden); }

function showRequests() {
  for (const part of sides()) part.querySelector("pre").textContent = `${asCurl(request(part))}\n\n${asPython(request(part))}`;
}

function tell(part, text, bad = false) {
  const note = part.querySelector(".note");
  note.textContent = text;
  note.classList.toggle("bad", bad);
}

function show(part, choice) {
  const out = part.querySelector(".out");
  if (!choice.logprobs) { out.append(choice.text); return; }
  choice.logprobs.tokens.forEach((token, number) => {
    const logprob = choice.logprobs.token_logprobs[number], span = document.createElement("span");
    const others = Object.entries(choice.logprobs.top_logprobs?.[number] ?? {}).map(([text, one]) => `${JSON.stringify(text)} ${one.toFixed(2)}`);
    span.className = "token";
    span.tabIndex = -1;
    span.textContent = token;
    span.title = `${logprob.toFixed(2)} (${(100 * Math.exp(logprob)).toFixed(1)} %)${others.length ? "\n" + others.join("\n") : ""}`;
    span.setAttribute("aria-label", `${token.trim() || "space"}, log-probability ${logprob.toFixed(2)}`);
    span.style.background = `rgb(var(--shade) / ${Math.min(0.75, -logprob / 5).toFixed(2)})`;
    out.append(span);
  });
}

function walk(event) { // arrow keys from token to token
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], tokens = [...event.currentTarget.querySelectorAll(".token")];
  if (!step || !tokens.length) return;
  event.preventDefault();
  const next = tokens[Math.max(0, Math.min(tokens.length - 1, tokens.indexOf(document.activeElement) + step))];
  next.focus();
  tell(event.currentTarget.closest("fieldset"), next.title.replaceAll("\n", "; "));
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part !== "data: [DONE]") yield JSON.parse(part.slice("data: ".length));
  }
}

async function answer(part, signal) {
  const body = request(part), begin = performance.now(), headers = { "Content-Type": "application/json" };
  if (by("key").value) headers.Authorization = `Bearer ${by("key").value}`;
  let first = 0, ended = "";
  part.querySelector(".out").replaceChildren();
  tell(part, "waiting");
  const take = (object) => {
    if (object.error) throw new Error(object.error.message);
    first ||= performance.now() - begin;
    for (const choice of object.choices) { show(part, choice); ended = choice.finish_reason ?? ended; }
  };
  try {
    const response = await fetch("v1/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
    if (!response.ok || !body.stream) take(await response.json());
    else for await (const event of eventsOf(response)) take(event);
    const seconds = (performance.now() - begin) / 1000;
    tell(part, `${ended === "length" ? "cut at max_tokens" : "ended"}; first token after ${(first / 1000).toFixed(2)} s, all in ${seconds.toFixed(2)} s`);
  } catch (error) {
    if (error.name === "AbortError") tell(part, "stopped");
    else tell(part, error.message, true);
  }
}

async function go() {
  if (running) return;
  running = new AbortController();
  by("go").disabled = true; by("stop").disabled = false;
  await Promise.all(sides().map((part) => answer(part, running.signal)));
  running = null;
  by("go").disabled = false; by("stop").disabled = true;
}

async function askModels() {
  const headers = by("key").value ? { Authorization: `Bearer ${by("key").value}` } : {};
  const about = by("about");
  try {
    const response = await fetch("v1/models", { headers }), object = await response.json();
    if (object.error) throw new Error(object.error.message);
    const names = object.data.map((model) => model.id);
    document.querySelectorAll("[data-name=model]").forEach((select, number) => {
      select.replaceChildren(...names.map((name) => new Option(name, name)));
      select.value = names[Math.min(number, names.length - 1)];
    });
    about.textContent = names.length > 1 ? `${names[0]}, with ${names.length - 1} adapter${names.length > 2 ? "s" : ""}` : names[0];
    about.classList.remove("bad");
  } catch (error) { about.textContent = error.message; about.classList.add("bad"); }
  showRequests();
}

side(0);
const second = side(1);
second.hidden = true;
second.querySelector("[data-name=temperature]").value = "0.7";
for (const name of Object.keys(TEMPLATES)) by("template").append(new Option(name, name));
by("template").value = "summarize";
by("text").value = TEMPLATES.summarize;
by("template").addEventListener("change", () => { by("text").value = TEMPLATES[by("template").value]; showFields(); });
by("text").addEventListener("input", showFields);
by("fields").addEventListener("input", showRequests);
by("key").addEventListener("change", askModels);
by("both").addEventListener("change", () => {
  second.hidden = !by("both").checked;
  by("sides").classList.toggle("two", by("both").checked);
  showRequests();
});
by("shade").addEventListener("change", () => { by("legend").hidden = !by("shade").checked; showRequests(); });
by("go").addEventListener("click", go);
by("stop").addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); go(); } });
showFields();
askModels();
