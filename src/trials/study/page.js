"use strict";

// The page of the study: it shows one item after another, and sends each answer before it shows the next.

const main = document.getElementById("main");
const statusLine = document.getElementById("status");
const LETTERS = ["A", "B", "C"];
const CONFIDENCE = ["guessing", "unsure", "sure"];
const KEY = "trompe-token";

let session = null;
let answered = new Set();
let onKey = null;

// ---- building

function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") node.style.setProperty(...value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const text = (...parts) => el("p", {}, ...parts);
const key = (name) => el("kbd", {}, name);

function picture(file, alt) {
  return el("img", { src: "stimuli/" + file, alt, draggable: "false" });
}

function show(...nodes) {
  onKey = null;
  delete main.dataset.trial;
  statusLine.textContent = "";
  main.replaceChildren(...nodes);
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

function progress() {
  const done = answered.size;
  const bar = document.getElementById("progress");
  bar.max = session.total;
  bar.value = done;
  const words = done < session.total ? `Trial ${done + 1} of ${session.total}` : "Done";
  document.getElementById("position").textContent = words;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !onKey) return;
  if (onKey(event)) event.preventDefault();
});

// ---- talking to the server

async function call(method, path, body) {
  const headers = { authorization: "Bearer " + (localStorage.getItem(KEY) || "") };
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const json = await response.json().catch(() => ({}));
  return { status: response.status, json };
}

async function load() {
  const { status, json } = await call("GET", "api/session");
  if (status === 403) return false;
  if (status !== 200) throw new Error(json.refused || "the server answers " + status);
  session = json;
  answered = new Set(json.answered);
  progress();
  return true;
}

async function begin() {
  const { status, json } = await call("POST", "api/start");
  if (status !== 200) throw new Error(json.refused || "the server answers " + status);
  localStorage.setItem(KEY, json.token);
  // By itself, so that trying again does not register someone else.
  attempt(enter);
}

async function enter() {
  if (!(await load())) return welcome();
  next();
}

function trouble(error, again) {
  statusLine.textContent = "The study's server can't be reached: " + error.message + ". Nothing is lost. ";
  const retry = () => { statusLine.textContent = ""; again(); };
  statusLine.append(el("button", { class: "plain", type: "button", onclick: retry }, "Try again"));
}

const attempt = (what) => what().catch((error) => trouble(error, () => attempt(what)));

// ---- items

function next() {
  progress();
  const items = session.items;
  const at = items.findIndex((item) => item.kind === "trial" && !answered.has(item.id));
  if (at < 0) return finished();
  // What stands before the trial is shown first, and again after a reload.
  let from = at;
  while (from > 0 && items[from - 1].kind !== "trial") from -= 1;
  walk(from, at);
}

function walk(from, to) {
  if (from < to) return interlude(items(from), () => walk(from + 1, to));
  preload(to + 1);
  trial(items(to));
}

const items = (at) => session.items[at];

function preload(at) {
  for (const item of session.items.slice(at, at + 2)) {
    for (const file of [item.left, item.right, item.shown, item.queries].flat(3)) {
      if (file) new Image().src = "stimuli/" + file;
    }
  }
}

function go(label, then) {
  const button = el("button", { type: "button", id: "go", onclick: then }, label);
  return el("div", { class: "buttons" }, button);
}

function interlude(item, then) {
  if (item.kind === "break") {
    show(el("h1", {}, "A break"), text("Rest your eyes. Your answers are kept; go on whenever you like."), go("Go on", then));
  } else if (item.kind === "begin") {
    show(el("h1", {}, "Now it counts"), text("Practice is over. From here on you aren't told whether you are right."), go("Go on", then));
  } else if (item.block === "matching") {
    show(
      el("h1", {}, "Which rows belong together?"),
      text("A unit is a small part of a neural network. It becomes active for some images and not for others."),
      text("You see three rows of images on the left, A, B and C, and three on the right, 1, 2 and 3. For every row on the left ",
        "there is one on the right about the same unit. The images on the left are photographs that make the unit active. Those on the right ",
        "are further ones, or pictures that a computer made to make the unit as active as can be."),
      text("Say which rows belong together, and how sure you are. If you can't tell, guess."),
      text("With the keyboard: ", key("1"), " ", key("2"), " ", key("3"), " answer for A, then B; the last row is what is left. ",
        key("Backspace"), " takes an answer back. Then ", key("1"), " to ", key("3"), " for how sure you are, and ", key("Enter"), "."),
      go("Go on", then));
  } else {
    show(
      el("h1", {}, "Which grey square does more?"),
      text("A unit is a small part of a neural network. It becomes active for some images and not for others."),
      text("You see the same photograph twice, each time with a grey square over another part. One of the squares covers what the unit responds ",
        "to, and lowers its activity more than the other."),
      text("Above there may be reference pictures that make the same unit active: photographs, photographs that are blurred but for one part, or ",
        "pictures that a computer made. Use them to find out what the unit responds to. Sometimes there are none: then go by the photograph alone."),
      text("Choose the photograph whose grey square lowers the activity more, and say how sure you are. If you can't tell, guess."),
      text("With the keyboard: ", key("1"), " or ", key("←"), " for left, ", key("2"), " or ", key("→"), " for right. Then ",
        key("1"), " to ", key("3"), " for how sure you are, and ", key("Enter"), "."),
      go("Go on", then));
  }
  document.getElementById("go").focus({ preventScroll: true });
}

// A group of radio buttons; gives its fieldset.
function group(name, legend, labels, changed) {
  const choices = labels.map((label, value) => {
    const input = el("input", { type: "radio", name, value, onchange: changed });
    return el("label", { class: "choice" }, input, label);
  });
  return el("fieldset", { id: name }, el("legend", {}, legend), ...choices);
}

const inputs = (fieldset) => [...fieldset.querySelectorAll("input")];
const value = (fieldset) => inputs(fieldset).findIndex((input) => input.checked);
const loaded = (image) => image.complete || new Promise((done) => { image.onload = image.onerror = done; });

function trial(item) {
  const state = { started: null, sent: false };
  const submit = el("button", { type: "button", id: "submit", disabled: true }, "Next");
  const groups = item.task === "occlusion" ? occlusion(item, update) : matching(item, update);
  const confidence = group("confidence", "How sure are you?", CONFIDENCE.map((word, i) => `${i + 1} ${word}`), update);
  const all = [...groups.fieldsets, confidence];

  function current() {
    const focused = all.find((fieldset) => fieldset.contains(document.activeElement));
    const open = all.find((fieldset) => value(fieldset) < 0);
    return focused && (value(focused) < 0 || !open || focused === confidence) ? focused : open || focused || confidence;
  }

  function update(event) {
    if (event && groups.settle) groups.settle(event.target);
    submit.disabled = state.started === null || all.some((fieldset) => value(fieldset) < 0);
    const now = all.find((fieldset) => value(fieldset) < 0);
    all.forEach((fieldset) => fieldset.classList.toggle("now", fieldset === now));
  }

  function choose(fieldset, at) {
    const input = inputs(fieldset)[at];
    if (!input) return false;
    input.checked = true;
    update({ target: input });
    focusOpen();
    return true;
  }

  // Where the next digit goes.
  function focusOpen() {
    const open = all.find((one) => value(one) < 0);
    if (open) inputs(open)[0].focus({ preventScroll: open !== confidence });
    else submit.focus();
  }

  function send() {
    if (state.sent || submit.disabled) return;
    state.sent = true;
    submit.disabled = true;
    const body = {
      trial: item.id,
      answer: groups.answer(),
      confidence: value(confidence) + 1,
      milliseconds: Math.ceil(performance.now() - state.started),
    };
    attempt(async () => {
      const { status, json } = await call("POST", "api/answer", body);
      if (status === 403 || status === 409 || status === 400) {
        // The server knows better where we are, as after an answer from another window.
        if (!(await load())) return welcome();
        return next();
      }
      if (status !== 200) throw new Error(json.refused || "the server answers " + status);
      answered.add(item.id);
      if (item.practice) feedback(json); else next();
    });
  }

  function feedback(json) {
    progress();
    onKey = null;
    all.forEach((fieldset) => { fieldset.disabled = true; fieldset.classList.remove("now"); });
    const words = json.right ? "That is right." : "Not quite. " + groups.solution(json.key);
    const box = el("p", { class: "feedback" + (json.right ? " right" : ""), role: "alert", id: "feedback" }, words);
    const on = el("button", { type: "button", id: "go", onclick: next }, "Go on");
    buttons.replaceChildren(on);
    buttons.before(box);
    on.focus();
  }

  submit.addEventListener("click", send);
  const buttons = el("div", { class: "buttons" }, submit);
  show(
    el("h1", {}, (item.practice ? "Practice: " : "") + groups.title),
    ...groups.nodes,
    el("div", { class: "answers" }, ...groups.aside, confidence),
    buttons);
  main.dataset.trial = item.id;
  update();
  // The clock starts when all there is to see is there, and nothing is answered before.
  Promise.all([...main.querySelectorAll("img")].map(loaded)).then(() => {
    state.started = performance.now();
    update();
  });

  onKey = (event) => {
    if (event.key === "Enter") {
      if (submit.disabled || event.target === submit) return false;
      send();
      return true;
    }
    if (event.key === "Backspace") {
      const last = [...all].reverse().find((fieldset) => value(fieldset) >= 0);
      if (!last) return false;
      if (last !== confidence && groups.clear) groups.clear();
      else inputs(last).forEach((input) => { input.checked = false; });
      update();
      focusOpen();
      return true;
    }
    const fieldset = current();
    if (/^[1-3]$/.test(event.key)) return choose(fieldset, Number(event.key) - 1);
    const arrow = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
    if (arrow !== undefined && fieldset === groups.pair) return choose(fieldset, arrow);
    return false;
  };
}

function matching(item, update) {
  const made = item.task === "visualization" ? "picture that a computer made" : "photograph";
  const side = (rows, names, kind) => rows.map((files, i) =>
    el("div", { class: "row" },
      el("span", { class: "name" }, names[i]),
      el("div", { class: "pictures", style: ["--columns", String(files.length)] },
        ...files.map((file, k) => picture(file, `Row ${names[i]}, ${kind} ${k + 1} of ${files.length}`)))));
  const numbers = ["1", "2", "3"];
  const fieldsets = LETTERS.map((letter, i) => group("row" + i, `${letter} belongs to`, numbers, update));
  const clear = () => fieldsets.forEach((one) => inputs(one).forEach((input) => { input.checked = false; }));
  return {
    title: "Which rows belong together?",
    fieldsets,
    aside: fieldsets,
    nodes: [el("div", { class: "sides" },
      el("section", { "aria-label": "Rows A to C" }, ...side(item.left, LETTERS, "photograph")),
      el("section", { "aria-label": "Rows 1 to 3" }, ...side(item.right, numbers, made)))],
    answer: () => fieldsets.map(value),
    clear,
    // No two rows have the same partner, and the last row gets what is left.
    settle(changed) {
      const own = fieldsets.findIndex((one) => one.contains(changed));
      if (own < 0) return;
      const taken = value(fieldsets[own]);
      fieldsets.forEach((one, i) => {
        if (i !== own && value(one) === taken) inputs(one)[taken].checked = false;
      });
      const open = fieldsets.filter((one) => value(one) < 0);
      if (open.length === 1) {
        const left = [0, 1, 2].find((n) => fieldsets.every((one) => value(one) !== n));
        inputs(open[0])[left].checked = true;
      }
    },
    solution: (answer) => answer.map((right, left) => `${LETTERS[left]} belongs to ${right + 1}`).join(", ") + ".",
  };
}

function occlusion(item, update) {
  const names = ["left", "right"];
  const queries = item.queries.map((file, i) =>
    el("label", { class: "query" },
      picture(file, `Photograph with a grey square over one part, ${names[i]}`),
      el("span", { class: "choice" },
        el("input", { type: "radio", name: "query", value: i, onchange: update }), `${i + 1} ${names[i]}`)));
  const pair = el("fieldset", { id: "query", class: "query-set" },
    el("legend", {}, "Whose grey square lowers the activity more?"), el("div", { class: "queries" }, ...queries));
  const shown = item.shown || [];
  const count = shown.length;
  const references = count === 0 ? text("There are no reference pictures this time.") :
    el("section", { class: "references", "aria-label": "Pictures that make the unit active" },
      ...shown.map((file, i) => picture(file, `Reference ${i + 1} of ${count}: a picture that makes the unit active`)));
  return {
    title: "Which grey square does more?",
    fieldsets: [pair],
    aside: [],
    pair,
    nodes: count === 0 ? [references, pair] : [el("h2", {}, "These make the unit active"), references, pair],
    answer: () => value(pair),
    solution: (answer) => `The grey square on the ${names[answer]} lowers the activity more.`,
  };
}

// ---- before and after

async function welcome() {
  const { status, json } = await call("GET", "api/study");
  if (status !== 200) throw new Error(json.refused || "the server answers " + status);
  // Some twenty seconds a trial.
  const minutes = 5 * Math.ceil(json.trials / 15);
  const register = (event) => {
    // A second click would register someone else.
    event.currentTarget.disabled = true;
    attempt(begin);
  };
  show(
    el("h1", {}, "What does the unit look for?"),
    text(`In this study you look at pictures and answer two kinds of questions about them. It takes about ${minutes} minutes. `,
      "Both begin with some practice. You may stop at any time and go on later in the same browser: every answer is kept at once."),
    text("What is kept: your answers, how sure you were, how long you took, and when. Not your name."),
    go("Begin", register));
  document.getElementById("go").focus({ preventScroll: true });
}

function resume() {
  show(
    el("h1", {}, "Welcome back"),
    text(`You are participant ${session.participant} and have answered ${answered.size} of ${session.total} trials.`),
    el("div", { class: "buttons" },
      el("button", { type: "button", id: "go", onclick: next }, "Go on"),
      el("button", { type: "button", class: "plain", id: "someone-else", onclick: someoneElse }, "I am someone else")));
  document.getElementById("go").focus({ preventScroll: true });
}

function someoneElse() {
  localStorage.removeItem(KEY);
  session = null;
  answered = new Set();
  document.getElementById("position").textContent = "";
  document.getElementById("progress").value = 0;
  attempt(welcome);
}

function finished() {
  show(
    el("h1", { id: "finished" }, "Thank you"),
    text(`That was all. Your answers are kept under ${session.participant}; you may close this page.`),
    el("div", { class: "buttons" },
      el("button", { type: "button", class: "plain", id: "someone-else", onclick: someoneElse }, "The next participant")));
}

attempt(async () => {
  if (!localStorage.getItem(KEY) || !(await load())) return welcome();
  if (answered.size === 0) return next();
  return answered.size < session.total ? resume() : finished();
});
