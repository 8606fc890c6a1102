"use strict";
const data = JSON.parse(document.getElementById("data").textContent), words = data.words;
const by = (id) => document.getElementById(id), HEIGHT = 56;
function make(name, text, kind) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}
const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));
let shown = data.episodes, current = null, measure = "gap";
for (const each of data.episodes)
  each.hay = `${each.task} ${each.id} ${each.skills.join(" ")}`.toLowerCase();

function summary() {
  const table = make("table"), head = table.createTHead().insertRow();
  for (const name of ["phase, step, task type", "n", "solved", "success", "95 % interval"]) head.append(make("th", name));
  for (const group of data.groups) {
    const row = table.insertRow();
    const name = group.kind ? `\u2003${group.kind}` : `${group.phase}, step ${group.step}`;
    for (const text of [name, group.n, group.solved, (group.solved / group.n).toFixed(3),
                        `[${group.low.toFixed(3)}, ${group.high.toFixed(3)}]`]) row.append(make("td", text));
  }
  const more = make("details"), about = data.header;
  more.open = data.groups.length < 7;
  more.append(make("summary", `${data.episodes.length} episodes, ` +
    `${data.episodes.filter((each) => each.success).length} solved`), table);
  const origin = make("details");
  origin.append(make("summary", "Provenance"), make("pre", JSON.stringify(about, null, 1)));
  by("summary").append(make("p", `${about.agent} on ${about.env}`, "soft"), more, origin);
}

function fill(id, values) {
  for (const value of [...new Set(values)].sort()) {
    const option = make("option", value);
    option.value = value;
    by(id).append(option);
  }
}
const phase = (each) => `${each.phase} ${String(each.step).padStart(4, " ")}`;

function filter() {
  const asked = by("search").value.toLowerCase().split(/\s+/), success = by("success").value;
  const kind = by("kind").value, when = by("phase").value;
  shown = data.episodes.filter((each) => asked.every((word) => each.hay.includes(word)) &&
    (success === "" || String(each.success) === success) && (kind === "" || each.kind === kind) &&
    (when === "" || phase(each) === when));
  by("count").textContent = `${shown.length} of ${data.episodes.length} episodes`;
  by("rows").style.height = `${shown.length * HEIGHT}px`;
  by("list").scrollTop = 0;
  rows();
}

function rows() {
  const list = by("list"), first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 5);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / HEIGHT) + 10);
  const active = document.activeElement;
  by("rows").replaceChildren(...shown.slice(first, last).map((each, place) => {
    // A row stays the same node, so that focus and a click under way survive scrolling.
    const row = each.row || make("button", undefined, "row"), top = make("span");
    row.type = "button";
    row.style.top = `${(first + place) * HEIGHT}px`;
    row.setAttribute("aria-current", each === current);
    if (each.row) return row;
    each.row = row;
    top.append(make("b", each.success ? "\u2713 " : "\u2717 ", each.success ? "good" : "bad"), each.task);
    row.title = each.success ? "solved" : "not solved";
    row.append(top, make("span", `${each.phase} ${each.step} \u00b7 ${each.kind} \u00b7 ${each.id}`, "soft"));
    row.onclick = () => { location.hash = `episode=${encodeURIComponent(each.key)}`; };
    return row;
  }));
  if (active && active.isConnected && active.classList.contains("row")) active.focus({ preventScroll: true });
}

function part(title, text) {
  const block = make("div");
  block.append(make("h3", title), make("pre", text || "(nothing)"));
  return block;
}

function later(title, text) {
  const block = make("details");
  block.append(make("summary", title));
  block.ontoggle = () => { if (block.open && block.children.length < 2) block.append(make("pre", text)); };
  return block;
}

function value(turn, place, name) {
  if (name === "gap") return turn.teacher && turn.student ? turn.teacher[place] - turn.student[place] : null;
  return turn[name] ? turn[name][place] : null;
}

function colour(node, turn, place) {
  const it = value(turn, place, measure);
  if (it === null) { node.style.background = ""; return; }
  const share = measure === "gate" ? it : Math.min(1, Math.abs(it) / 3);
  const side = measure === "gap" && it < 0 || measure !== "gap" && measure !== "gate" ? "--down" : "--up";
  node.style.background = `rgba(var(${side}), ${(0.75 * Math.abs(share)).toFixed(3)})`;
}

function tokens(turn) {
  const block = make("div"), line = make("div", undefined, "tokens"), values = make("div", "", "values soft");
  values.setAttribute("aria-live", "polite");
  turn.tokens.forEach((token, place) => {
    const node = make("button", words[token].replace(/\n/g, "\u21b5") || "\u00b7");
    const told = ["student", "teacher", "gap", "gate", "sampler"]
      .map((name) => `${name} ${number(value(turn, place, name))}`).join(" \u00b7 ");
    node.type = "button";
    node.title = told;
    node.onfocus = node.onclick = node.onmouseenter = () => { values.textContent = `${node.textContent}: ${told}`; };
    node.paint = () => colour(node, turn, place);
    node.paint();
    line.append(node);
  });
  block.append(make("h3", "Tokens"), line, values);
  return block;
}

function legend() {
  const block = make("div", undefined, "legend"), label = make("label", "Heat map of "), select = make("select");
  const words = { gap: "gap, teacher \u2212 student (nats): orange \u22123, none 0, blue +3", gate: "gate: none 0, blue 1",
    student: "student log-probability: none 0, orange \u22123 nats or less",
    teacher: "teacher log-probability: none 0, orange \u22123 nats or less" };
  const bar = make("i"), text = make("span");
  const say = () => {
    text.textContent = words[measure];
    const [low, high] = measure === "gap" ? ["rgba(var(--down),.75)", "rgba(var(--up),.75)"]
      : measure === "gate" ? ["transparent", "rgba(var(--up),.75)"] : ["rgba(var(--down),.75)", "transparent"];
    bar.style.background = measure === "gap" ? `linear-gradient(90deg,${low},transparent,${high})`
      : `linear-gradient(90deg,${low},${high})`;
  };
  for (const name of Object.keys(words)) select.append(make("option", name));
  select.value = measure;
  select.onchange = () => {
    measure = select.value;
    say();
    document.querySelectorAll(".tokens button").forEach((node) => node.paint());
  };
  say();
  label.append(select);
  block.append(label, bar, text);
  return block;
}

function episode(each) {
  const node = by("episode"), facts = make("div", undefined, "facts");
  facts.append(make("b", each.success ? "solved" : each.truncated ? "not solved, out of time" : "not solved",
    each.success ? "good" : "bad"));
  for (const text of [`score ${number(each.score)}`, `${each.turns.length} turns`, `${each.phase}, step ${each.step}`,
                      each.kind, each.id]) facts.append(make("span", text));
  node.replaceChildren(make("h2", each.task), facts);
  if (each.skills.length) node.append(make("p", `Skills: ${each.skills.join(", ")}`), later("Their text", words[each.text]));
  if (each.turns.some((turn) => turn.student)) node.append(legend());
  each.turns.forEach((turn, place) => {
    const block = make("section", undefined, "turn"), about = make("div", undefined, "facts");
    block.setAttribute("aria-label", `Turn ${place + 1}`);
    about.append(make("b", `Turn ${place + 1}`), make("span", `reward ${number(turn.reward)}`),
      make("span", `advantage ${number(turn.advantage)}`),
      make("span", turn.valid ? "valid" : `invalid: ${turn.failure || "not understood"}`, turn.valid ? "good" : "bad"));
    block.append(about, part("Observation", words[turn.seen]));
    if (words[turn.prompt]) block.append(later("Prompt", words[turn.prompt]));
    block.append(part("Response", words[turn.response]));
    if (words[turn.action] !== words[turn.response]) block.append(part("Action", words[turn.action]));
    if (turn.student) block.append(tokens(turn));
    if (place === each.turns.length - 1) block.append(part("Then", words[turn.then]));
    node.append(block);
  });
}

function follow() {
  const key = decodeURIComponent(location.hash.replace(/^#episode=/, ""));
  const found = data.episodes.find((each) => each.key === key);
  if (!found) return;
  current = found;
  episode(found);
  rows();
  if (window.innerWidth <= 760) by("episode").scrollIntoView();
}

summary();
fill("kind", data.episodes.map((each) => each.kind));
fill("phase", data.episodes.map(phase));
by("search").oninput = filter;
for (const id of ["success", "kind", "phase"]) by(id).onchange = filter;
by("list").onscroll = rows;
by("scheme").onclick = () => {
  const root = document.documentElement;
  const dark = root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.scheme = dark ? "light" : "dark";
};
window.onhashchange = follow;
window.onresize = rows;
filter();
if (!location.hash && shown.length) { current = shown[0]; episode(current); rows(); } else follow();
