// The keyboard, and three comforts. Every page works without this file.
"use strict";

const typing = (element) => element.closest("input:not([type=checkbox]):not([type=radio]), textarea, select") !== null;
const rows = () => [...document.querySelectorAll("[data-row]")];

// Logging in by the printed address: the code behind # is taken out of the address bar and sent as the form. Without
// one, the token can be typed at once; Chromium would report an autofocus as blocked to whoever is faster than it.
const login = document.getElementById("login");
if (login && location.hash.length > 1) {
  login.elements.token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  login.requestSubmit();
} else login?.elements.token.focus();

// A choice is taken at once; its button is for those without a script.
for (const select of document.querySelectorAll("[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
  for (const button of select.form.querySelectorAll("button")) button.classList.add("vh");
}

const help = document.getElementById("help");
document.querySelector("[data-help]")?.addEventListener("click", () => help.showModal());

function step(by) {
  const all = rows();
  if (!all.length) return false;
  const at = all.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  const to = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by));
  all[to].focus();
  all[to].scrollIntoView({ block: "nearest" });
  return true;
}

// Back is where one came from, which only the browser knows.
const back = document.querySelector("[data-back]");
back?.addEventListener("click", (event) => {
  if (history.length > 1 && document.referrer.startsWith(location.origin)) {
    event.preventDefault();
    history.back();
  }
});

function press(key) {
  if (back?.dataset.back === key) {
    back.click();
    return true;
  }
  const target = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!target) return false;
  if (target.matches("input:not([type=checkbox]), textarea, select")) target.focus();
  else target.click();
  return true;
}

let going = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help?.open) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  let taken = true;
  if (going) {
    going = false;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) link.click();
    else taken = false;
  } else if (event.key === "g") going = true;
  else if (event.key === "?" && help) help.showModal();
  else if (event.key === "j" && step(1)) taken = true;
  else if (event.key === "k" && step(-1)) taken = true;
  else if (event.key.length !== 1 || event.repeat || !press(event.key)) taken = false;
  if (taken) event.preventDefault();
});
