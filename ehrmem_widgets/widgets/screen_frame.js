// The head of a screen: its title, the way to the other screens, its words (AROUND is around.js), and what came along from the screen before. Keys pressed on the screen stay on it:
// JupyterLab would take arrows and "d" "d" for itself (it deletes the cell). In one of our own notebooks the screen is all that is shown.
function render({ model, el }) {
  const title = document.createElement("h2");
  const nav = document.createElement("nav");
  const said = document.createElement("p");
  nav.className = "ehrmem-screens";
  nav.setAttribute("aria-label", "Screens");
  el.classList.add("ehrmem-frame");

  const make = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const pop = make("div", { className: "em-pop", popover: "auto", role: "dialog", ariaLabel: "Words", tabIndex: 0 }); // it scrolls, by keyboard too
  const note = make("div", { className: "em-note", popover: "auto" });
  const help = make("button", { type: "button", className: "em-help", textContent: "? Words" });
  help.addEventListener("click", () => {
    pop.replaceChildren(make("h3", { textContent: "Words" }), AROUND.list(model.get("glossary"), el.closest(".ehrmem-screen")));
    pop.togglePopover();
  });
  const dead = make("div", { className: "em-dead", hidden: true, role: "alert" }, make("span", { textContent: AROUND.DEAD }),
    make("button", { type: "button", textContent: "Restore", onclick: AROUND.restore }));
  el.append(title, nav, help, said, pop, note);

  const here = () => decodeURIComponent(location.pathname.split("/").pop());
  function draw() {
    title.textContent = model.get("title");
    said.textContent = model.get("said");
    nav.replaceChildren(...model.get("screens").map(([name, words, what], place) => {
      const link = document.createElement("a");
      link.textContent = words;
      link.title = what;
      link.href = new URL(name, location.href.split(/[?#]/)[0]).href + (place === 0 && model.get("link") ? `#ehrmem=${model.get("link")}` : "");
      if (name === here()) link.setAttribute("aria-current", "page");
      else { link.target = "_blank"; link.rel = "noopener"; }
      return link;
    }));
  }

  const keep = (event) => {
    const screen = el.closest(".ehrmem-screen");
    if (!screen) return;
    if (screen.contains(event.target)) event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  };
  // Sliders and fields of ipywidgets have no name for those who do not see the label beside them.
  const name = (screen) => {
    for (const field of screen.querySelectorAll("input[title]:not([aria-label])")) field.setAttribute("aria-label", field.title);
    for (const handle of screen.querySelectorAll(".noUi-handle:not([aria-label])")) {
      const slider = handle.closest(".widget-slider");
      const label = [slider?.querySelector(".widget-label"), slider?.parentElement.querySelector(".ehrmem-control")].find((one) => one?.textContent);
      if (label) handle.setAttribute("aria-label", label.textContent);
    }
  };
  const stop = [];
  const alone = () => {
    const screen = el.closest(".ehrmem-screen");
    if (!screen) return;
    screen.prepend(dead);
    stop.push(AROUND.explain(screen, note, () => model.get("glossary")), AROUND.watch(model, screen, dead, "button, input, select"));
    const made = new MutationObserver(() => name(screen));
    made.observe(screen, { childList: true, subtree: true });
    stop.push(() => made.disconnect());
    name(screen);
    if (model.get("screens").some(([name]) => name === here())) screen.classList.add("em-alone");
  };
  const names = ["title", "said", "screens", "link"];
  for (const name of names) model.on(`change:${name}`, draw);
  document.addEventListener("focusin", keep);
  draw();
  requestAnimationFrame(alone); // it is on the page only then
  return () => {
    for (const name of names) model.off(`change:${name}`, draw);
    document.removeEventListener("focusin", keep);
    for (const act of stop) act();
    dead.remove();
  };
}
export default { render };
