/** The lesson, one step at a time: questions that check themselves, cards to sort, a score board, votes, and the results code. Nothing leaves the page. */

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const STATES = 5n;
const NO_ANSWER = 4n;
const BEST = 5; // rows of the score board

/** An element of markup that Python made and escaped. */
function html(markup, tag = "div") {
  const made = document.createElement(tag);
  made.innerHTML = markup;
  return made;
}

function make(tag, given = {}, ...children) {
  const made = Object.assign(document.createElement(tag), given);
  made.append(...children);
  return made;
}

/**
 * The code of a participant's answers (workshop/results.py).
 * @param {(number|null)[]} before @param {(number|null)[]} after @param {number} version
 */
export function resultsCode(before, after, version) {
  let number = 0n;
  for (const one of [...before, ...after]) number = number * STATES + (one === null ? NO_ANSWER : BigInt(one));
  const content = (BigInt(version) << 28n) | number;
  const bytes = [4n, 3n, 2n, 1n, 0n].map((place) => Number((content >> (8n * place)) & 255n));
  const bits = (content << 12n) | BigInt(crc32(bytes) & 4095);
  const values = Array.from({ length: 9 }, (_, place) => Number((bits >> BigInt(5 * (8 - place))) & 31n));
  const groups = [0, 1, 2].map((place) => {
    const [a, b, c] = values.slice(3 * place, 3 * place + 3);
    return [a, b, c, (a + 3 * b + 5 * c + 7 * (place + 1)) & 31].map((one) => ALPHABET[one]).join("");
  });
  return groups.join("-");
}

function crc32(bytes) {
  let found = ~0;
  for (const byte of bytes) {
    found ^= byte;
    for (let bit = 0; bit < 8; bit++) found = (found >>> 1) ^ (found & 1 ? 0xedb88320 : 0);
  }
  return ~found >>> 0;
}

/**
 * Draw the steps above and below the explorer.
 * @param {{root: HTMLElement, explorer: HTMLElement, lesson: object}} given
 * @returns {{answered: Function}} to be told of each answer of the explorer
 */
export function teach({ root, explorer, lesson }) {
  let ids = 0;
  let scores = [];
  let answers;
  const nav = make("nav", { className: "steps-nav" });
  nav.setAttribute("aria-label", "Steps of the lesson");
  const title = make("h2");
  const stage = make("section", { className: "stage" });
  const score = make("section", { className: "score stage" }); // below the explorer
  const scoreList = make("div");
  const names = ["Explore freely", ...lesson.steps.map((step, place) => `${place + 1}. ${step.title}`)];
  const reset = make("button", { type: "button", textContent: "Reset the lesson", onclick: () => { begin(); show(0); } });
  root.replaceChildren(nav, title, stage);
  explorer.after(score);

  function begin() {
    const none = () => lesson.quiz.map(() => null);
    answers = { before: none(), after: none(), cards: lesson.cards.map(() => null), turned: false, model: null, votes: [null, null], report: false, reason: "", checked: {} };
    scores = [];
  }

  function show(place) {
    const step = lesson.steps[place - 1];
    nav.replaceChildren(...names.map((words, i) => {
      const made = make("button", { type: "button", textContent: words, onclick: () => show(i) });
      if (i === place) made.setAttribute("aria-current", "step");
      return made;
    }), reset);
    title.textContent = step ? `${step.title} (${step.minutes} minutes)` : "Explore freely";
    explorer.hidden = Boolean(step) && step.key !== "attack";
    stage.replaceChildren(...(step ? [html(step.head), ...PARTS[step.key](step)] : []));
    const below = step?.key === "attack";
    scoreList.replaceChildren(...(below ? board() : []));
    score.replaceChildren(...(below ? [scoreList, ...step.ask.map(check)] : []));
    if (step) (below ? score : stage).append(make("p", { className: "turn" }, ...[place > 1 ? ["Back", place - 1] : null, place < lesson.steps.length ? ["Next", place + 1] : null].filter(Boolean).map(([words, to]) =>
      make("button", { type: "button", textContent: words, onclick: () => { show(to); title.scrollIntoView(); } }))));
  }

  /** Radio buttons for one question; `take` is told the place of what was chosen. */
  function choice(words, options, given, take) {
    const name = `choice-${(ids += 1)}`;
    return make("fieldset", { className: "question" }, make("legend", { textContent: words }), ...options.map((option, place) =>
      make("label", {}, make("input", { type: "radio", name, value: String(place), checked: given === place, onchange: () => take(place) }), ` ${option}`)));
  }

  /** A question that checks itself. */
  function check(item) {
    const box = html(answers.checked[item.key] === undefined ? "" : item.options[answers.checked[item.key]].told);
    box.setAttribute("aria-live", "polite");
    return make("div", {}, choice(item.words, item.options.map((one) => one.words), answers.checked[item.key] ?? null, (place) => {
      answers.checked[item.key] = place;
      box.innerHTML = item.options[place].told;
    }), box);
  }

  const quiz = (kind, then = () => {}) => lesson.quiz.map((item, place) => choice(item.words, item.options.map((one) => one.words), answers[kind][place], (chosen) => { answers[kind][place] = chosen; then(); }));

  function cards(step) {
    const told = make("p", { role: "status" });
    const turn = make("button", { type: "button", textContent: "Turn the cards over", onclick: () => {
      if (answers.cards.includes(null)) { told.textContent = `${answers.cards.filter((one) => one === null).length} of ${answers.cards.length} cards are not sorted yet.`; return; }
      answers.turned = true;
      show(lesson.steps.indexOf(step) + 1);
    } });
    const right = answers.cards.filter((one, place) => one === Number(!lesson.cards[place].memory)).length;
    return [...lesson.cards.map((card, place) => make("article", {}, html(answers.turned ? card.back : card.front),
      choice(`Card ${place + 1}: ${step.question}`, ["Person", "Population"], answers.cards[place], (chosen) => { answers.cards[place] = chosen; }))),
    ...(answers.turned ? [make("p", { className: "told", textContent: `You sorted ${right} of ${lesson.cards.length} rightly.` }), html(step.answer, "p"), ...step.ask.map(check)] : [turn, told])];
  }

  function training(step) {
    const again = () => show(lesson.steps.indexOf(step) + 1);
    return [choice("Which one would you buy for your hospital?", lesson.models, answers.model, (place) => { answers.model = place; again(); }),
      ...(answers.model === null ? [] : [html(step.extra), html(step.answer, "p"), ...step.ask.map(check)])];
  }

  function committee(step) {
    const again = () => show(lesson.steps.indexOf(step) + 1);
    const voted = answers.votes[0] !== null;
    const parts = [html(step.roles), choice("Your vote before the report", step.votes, answers.votes[0], (place) => { if (answers.votes[0] === null || !answers.report) { answers.votes[0] = place; again(); } })];
    if (voted && !answers.report) parts.push(make("button", { type: "button", textContent: "Read the report", onclick: () => { answers.report = true; again(); } }));
    if (answers.report) {
      const reason = make("textarea", { id: "reason", rows: 3, value: answers.reason, oninput: () => { answers.reason = reason.value; } });
      const label = make("label", { textContent: "One reason, with the figure that it rests on", htmlFor: "reason" });
      const report = make("iframe", { className: "report", title: "The report", srcdoc: lesson.report });
      report.setAttribute("sandbox", "");
      parts.push(html(step.extra), report, choice("Your vote after the report", step.votes, answers.votes[1], (place) => { answers.votes[1] = place; again(); }), label, reason);
    }
    if (answers.votes[1] !== null) {
      parts.push(make("p", { className: "told", textContent: answers.votes[0] === answers.votes[1] ? "The report did not change your vote." : `The report changed your vote from “${step.votes[answers.votes[0]]}” to “${step.votes[answers.votes[1]]}”.` }), html(step.answer, "p"));
    }
    return parts;
  }

  function exit() {
    const told = make("div");
    told.setAttribute("aria-live", "polite");
    const finish = () => {
      const open = answers.after.filter((one) => one === null).length;
      if (open) { told.replaceChildren(make("p", { textContent: `${open} of ${answers.after.length} questions are not answered yet.` })); return; }
      const right = (kind) => lesson.quiz.filter((item, place) => item.options[answers[kind][place]]?.right).length;
      told.replaceChildren(
        make("p", { className: "told", textContent: `Before: ${right("before")} of ${lesson.quiz.length} right. Now: ${right("after")}.` }),
        ...lesson.quiz.map((item, place) => make("div", {}, make("p", {}, make("b", { textContent: item.words })), html(item.options[answers.after[place]].told))),
        make("p", { textContent: "Your results code, to read out or to paste:" }), make("p", { className: "code", textContent: resultsCode(answers.before, answers.after, lesson.version) }), html(lesson.left));
    };
    return [...quiz("after"), make("button", { type: "button", textContent: "Check my answers", onclick: finish }), told];
  }

  const PARTS = { predict: () => quiz("before"), attack: (step) => [html(step.extra)], cards, training, committee, exit };

  const board = () => [make("h3", { textContent: "Score board" }), scores.length ? make("ol", {}, ...scores.map((one) => make("li", { textContent: one.words })))
    : make("p", { textContent: "Choose facts below. Every answer of the model is scored here." })];

  begin();
  show(0);
  return {
    /** @param {{patient: string, title: string, facts: number, low: number, model: string}} what */
    answered({ patient, title, facts, low, model }) {
      const points = facts > lesson.budget ? 0 : Math.max(0, Math.floor(100 * low) - lesson.price * facts);
      const words = `${points} points: ${title} of ${patient}, ${facts} ${facts === 1 ? "fact" : "facts"}, at least ${Math.floor(100 * low)} of 100 answers of ${model}`;
      scores = [...scores.filter((one) => one.words !== words), { points, words }].sort((a, b) => b.points - a.points).slice(0, BEST);
      if (score.firstChild) scoreList.replaceChildren(...board());
    },
  };
}
