// A button that says who is chosen and opens the table of patients; patient_table.js stands before it.
function render({ model, el }) {
  const who = button("", () => picker.toggle(), { className: "em-who", "aria-haspopup": "dialog" });
  const picker = patients((query) => model.send({ do: "patients", ...query }), (pseudonym) => { model.send({ do: "patient", pseudonym }); who.focus(); });
  const draw = () => { who.textContent = `Patient ${model.get("who")} ▾`; };
  const received = (message) => { if (message.kind === "patients") picker.take(message); };
  model.on("change:who", draw);
  model.on("msg:custom", received);
  draw();
  el.append(make("div", { className: "em-chooser" }, who, picker.box));
  return () => { model.off("change:who", draw); model.off("msg:custom", received); };
}

export default { render };
