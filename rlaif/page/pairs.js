// The pair browser of a report. Texts of models reach the page as text nodes alone, never as markup; nothing is fetched
// and nothing is stored. The data is unpacked here: the pairs at once, their judgements when the page can be used.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const browser = $("browser");
  const ROW = 58; // height of a row in pixels, as in the style sheet
  const TIE = 0.05; // around one half: what counts as saying nothing, as in the tables of the report
  const KEPT = 160; // characters of a prompt in a row of the list
  const UNSEEN =
    /(?:(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164\ufe00-\ufe0d\uffa0\u{e0100}-\u{e01ef}])+/gu;

  // ---- Text and numbers -------------------------------------------------------------------------------------------

  // `text` as nodes, with the code points of what cannot be seen in a <mark>.
  const visible = (text) => {
    const nodes = [];
    let end = 0;
    for (const found of text.matchAll(UNSEEN)) {
      nodes.push(text.slice(end, found.index));
      const codes = [...found[0]].map((c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
      nodes.push(make("mark", "", codes.join(" ")));
      end = found.index + found[0].length;
    }
    nodes.push(text.slice(end));
    return nodes;
  };
  const make = (tag, name, ...inside) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...inside);
    return element;
  };
  const whole = (text) => (typeof text === "string" ? text : text[0]); // a cut text is [beginning, characters left out]
  const body = (text, name) => {
    const shown = make("div", "text " + (name || ""), ...visible(whole(text)));
    if (typeof text !== "string") {
      shown.append(make("em", "muted", ` … ${text[1].toLocaleString("en")} more characters, in label/labels.jsonl`));
    } else if (!text.trim()) shown.prepend(make("em", "muted", "(empty)"));
    return shown;
  };
  const named = (text) => make("bdi", "", ...visible(text));
  const minus = (text) => text.replace("-", "−");
  const decimal = (value, digits = 2) => (value === null ? "–" : minus(value.toFixed(digits)));
  const percent = (share) => {
    if (share === null || share === undefined) return "–";
    const x = 100 * share;
    const space = "\u00a0";
    if (x === 0 || x === 100 || (x >= 1 && x <= 99)) return x.toFixed(0) + space + "%";
    if (x < 1) return x >= 0.05 ? x.toFixed(1) + space + "%" : `<${space}0.1${space}%`;
    return x < 99.95 ? x.toFixed(1) + space + "%" : `>${space}99.9${space}%`;
  };

  // ---- What one looks at: the whole label, an axis, or a principle -------------------------------------------------

  const mean = (votes, column) => {
    let sum = 0;
    let weight = 0;
    for (const vote of votes) {
      if (vote[column] === null) continue;
      sum += vote[V.weight] * vote[column];
      weight += vote[V.weight];
    }
    return weight ? sum / weight : null;
  };
  const votesOf = (pair, lens) =>
    lens.kind === "all" ? pair.votes : pair.votes.filter((vote) => vote[V[lens.kind]] === lens.name);
  const probability = (pair, lens, votes) => {
    if (lens.kind === "all") return pair.p;
    if (lens.kind === "principle") return mean(votes, V.p);
    const axis = pair.axes.find((one) => one[0] === lens.name);
    return axis ? axis[1] : null;
  };
  const criticsPart = (votes) => {
    const sides = new Map();
    for (const vote of votes) {
      if (vote[V.p] === null || vote[V.p] === 0.5) continue;
      const side = vote[V.p] > 0.5;
      const before = sides.get(vote[V.principle]);
      if (before !== undefined && before !== side) return true;
      sides.set(vote[V.principle], side);
    }
    return false;
  };
  const facts = (pair, lens) => {
    const votes = votesOf(pair, lens);
    const p = probability(pair, lens, votes);
    const ab = mean(votes, V.p_ab);
    const ba = mean(votes, V.p_ba);
    const known = ab !== null && ba !== null;
    const loud = votes.filter((vote) => vote[V.p] !== null && Math.abs(vote[V.p] - 0.5) >= TIE);
    const flips = lens.kind === "all" ? pair.order_consistent === false : known && ab > 0.5 !== ba > 0.5;
    return {
      p,
      asked: lens.kind === "all" || votes.length > 0,
      order: known ? Math.abs(ab - ba) : 0,
      flips,
      tie: p !== null && Math.abs(p - 0.5) < TIE,
      failed: votes.some((vote) => vote[V.failed] > 0),
      none: p === null,
      critics: criticsPart(votes),
      principles: loud.some((vote) => vote[V.p] > 0.5) && loud.some((vote) => vote[V.p] < 0.5),
      data: pair.preferred !== null && p !== null && p !== 0.5 && (p > 0.5 ? 0 : 1) !== pair.preferred,
      flagged: pair.flags.length > 0,
    };
  };
  const judgementsOf = (pair) => {
    if (pair.judgements === undefined && judged !== null) pair.judgements = JSON.parse(judged[pair.number]);
    return pair.judgements || [];
  };
  const TOGGLES = [
    ["critics", "critics disagree", "two critics name different winners under the same principle"],
    ["principles", "principles disagree", "one principle says the first response, another the second"],
    ["flips", "flips", "another winner when the responses swap places"],
    ["tie", "ties", "within 5 points of 50 %"],
    ["failed", "failures", "a judgement failed: it is missing, and counts nowhere"],
    ["none", "no label", "nothing was answered"],
    ["data", "against the data", "the label prefers what the data does not"],
    ["flagged", "flagged", "for instance, text that talks to the judge"],
  ];

  // ---- State --------------------------------------------------------------------------------------------------------

  let V = {};
  let J = {};
  let head = null;
  let pairs = [];
  let judged = null; // a line of judgements for every pair, once they are unpacked
  let lenses = [{ kind: "all", name: "" }];
  let known = []; // facts of every pair, by lens
  let shown = []; // numbers of the pairs that pass
  let at = 0; // which of the shown is selected
  let prompt = null; // which judgement's prompt is open
  const pressed = new Set();
  const list = $("pair-list");
  const space = $("pair-space");
  const detail = $("pair-detail");
  const search = $("pair-search");

  const lensFacts = (number) => {
    if (!known[number]) known[number] = pairs.map((pair) => facts(pair, lenses[number]));
    return known[number];
  };
  const haystack = (pair) => {
    if (pair.hay === undefined) {
      const texts = [pair.id, ...pair.messages.map((m) => whole(m[1])), ...pair.responses.map(whole)];
      pair.hay = texts.join("\n").toLowerCase();
    }
    return pair.hay;
  };

  const filter = () => {
    const begun = performance.now();
    const current = lensFacts($("pair-lens").selectedIndex);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const source = $("pair-source").value;
    const round = $("pair-round").value;
    const flag = $("pair-flag").value;
    const counts = Object.fromEntries(TOGGLES.map(([key]) => [key, 0]));
    shown = [];
    pairs.forEach((pair, number) => {
      const own = current[number];
      if (!own.asked || (source && pair.source !== source) || (round && String(pair.round) !== round) || (flag && !pair.flags.includes(flag))) return;
      if (words.length && !words.every((word) => haystack(pair).includes(word))) return;
      for (const [key] of TOGGLES) if (own[key]) counts[key] += 1;
      for (const key of pressed) if (!own[key]) return;
      shown.push(number);
    });
    const order = $("pair-sort").value;
    const unsure = (n) => (current[n].p === null ? 2 : Math.abs(current[n].p - 0.5));
    if (order === "unsure") shown.sort((a, b) => unsure(a) - unsure(b));
    if (order === "order") shown.sort((a, b) => current[b].order - current[a].order);
    for (const [key] of TOGGLES) {
      const button = $("toggle-" + key);
      button.querySelector("small").textContent = counts[key].toLocaleString("en");
      button.disabled = counts[key] === 0 && !pressed.has(key);
    }
    const of = pairs.length.toLocaleString("en");
    $("pair-count").textContent = `${shown.length.toLocaleString("en")} of ${of} pairs`;
    space.style.height = shown.length * ROW + "px";
    list.scrollTop = 0;
    select(0);
    browser.dataset.filterMs = (performance.now() - begun).toFixed(1);
  };

  // ---- The list: only the rows in sight are in the page --------------------------------------------------------------

  const chips = (own, pair) => {
    const found = [];
    if (own.p === null) found.push(make("span", "chip alert", "no label"));
    if (own.flips) found.push(make("span", "chip alert", "flips"));
    if (own.tie) found.push(make("span", "chip", "tie"));
    if (own.failed && own.p !== null) found.push(make("span", "chip alert", "failure"));
    if (own.critics) found.push(make("span", "chip alert", "critics disagree"));
    if (own.data) found.push(make("span", "chip", "against the data"));
    for (const flag of pair.flags.slice(0, 2)) found.push(make("span", "chip alert", ...visible(flag.slice(0, 40))));
    return found;
  };
  const meter = (p) => {
    const bar = make("meter", "p");
    bar.value = p === null ? 0.5 : p;
    bar.setAttribute("aria-label", "probability that response 1 is better");
    return bar;
  };
  const row = (place) => {
    const pair = pairs[shown[place]];
    const own = lensFacts($("pair-lens").selectedIndex)[shown[place]];
    const ask = whole(pair.messages[pair.messages.length - 1][1]).slice(0, KEPT).replace(/\s+/g, " ");
    const first = make("div", "ask", ...visible(ask));
    const second = make("div", "facts-line", make("span", "number", percent(own.p)), meter(own.p), ...chips(own, pair));
    const element = make("div", place === at ? "row on" : "row", first, second);
    element.style.top = place * ROW + "px";
    element.id = "row-" + place;
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", String(place === at));
    element.addEventListener("click", () => select(place));
    return element;
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
    const rows = [];
    for (let place = first; place < last; place += 1) rows.push(row(place));
    space.replaceChildren(...rows);
  };
  const select = (place) => {
    at = Math.max(0, Math.min(place, shown.length - 1));
    prompt = null;
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    if (shown.length) list.setAttribute("aria-activedescendant", "row-" + at);
    else list.removeAttribute("aria-activedescendant");
    draw();
    describe();
  };

  // ---- One pair, with everything that was asked about it ---------------------------------------------------------------

  const table = (heads, rows, name) => {
    const line = make("tr", "", ...heads.map((text) => make("th", "", text)));
    return make("div", "scroll", make("table", name || "", make("thead", "", line), make("tbody", "", ...rows)));
  };
  const cell = (...inside) => make("td", "", ...inside);
  const about = (name, note) => {
    const element = make("th", "", named(name), " ", make("small", "", ...note));
    element.scope = "row";
    return element;
  };
  const votesTable = (pair) => {
    const several = new Set(pair.votes.map((vote) => vote[V.critic])).size > 1;
    const rows = pair.votes.map((vote) => {
      const note = ["axis ", named(vote[V.axis]), `, weight ${vote[V.weight]}`];
      if (several) note.push(", ", named(vote[V.critic]));
      const values = vote[V.values];
      const missing = () => make("span", "missing", values ? "" : "missing");
      const one = (value) => cell(value === null ? missing() : percent(value));
      const alone = (n) => cell(`alone: ${decimal(values[n])}`);
      const cells = values ? [alone(0), alone(1)] : [one(vote[V.p_ab]), one(vote[V.p_ba])];
      const last = one(vote[V.p]);
      last.className = "last";
      if (vote[V.failed]) last.append(" ", make("span", "chip alert", `${vote[V.failed]} failed`));
      return make("tr", "", about(vote[V.principle], note), ...cells, last);
    });
    return table(["Principle", "1 shown first", "2 shown first", "Vote: 1 is better"], rows);
  };
  const orderOf = (judged) => {
    if (judged[J.form] === "compare") return judged[J.order] === "ab" ? "response 1 is A" : "response 2 is A";
    const which = `response ${judged[J.response] + 1}`;
    return judged[J.form] === "score" ? which : `${which}, ${judged[J.order] === "ab" ? "Yes" : "No"} named first`;
  };
  const answer = (judged) => {
    if (judged[J.reason] !== null) return [make("span", "missing", "failed: "), ...body(judged[J.reason]).childNodes];
    const options = judged[J.options];
    if (judged[J.votes]) return [options.map((o, i) => `${o}: ${judged[J.votes][i]}`).join(", ") + " votes"];
    const top = Math.max(...judged[J.logprobs]);
    const shares = judged[J.logprobs].map((x) => Math.exp(x - top));
    const sum = shares.reduce((a, b) => a + b, 0);
    const said = options.map((o, i) => `${o} ${percent(shares[i] / sum)}`).join(", ");
    const raw = judged[J.logprobs].map((x) => decimal(x, 3)).join(", ");
    return [said, " ", make("small", "", `log p ${raw}; ${percent(judged[J.outside])} elsewhere`)];
  };
  const judgementsTable = (pair) => {
    const rows = judgementsOf(pair).map((judged, number) => {
      const button = make("button", "small", prompt === number ? "hide" : "prompt");
      button.type = "button";
      button.setAttribute("aria-expanded", String(prompt === number));
      button.addEventListener("click", () => openPrompt(prompt === number ? null : number));
      const wording = judged[J.wording] ? `wording ${judged[J.wording] + 1}, ` : "";
      const note = [`${wording}${judged[J.mode]}, `, named(judged[J.critic])];
      const line = [about(judged[J.principle], note), make("td", "steady", orderOf(judged)), cell(...answer(judged)), cell(button)];
      return make("tr", prompt === number ? "on" : "", ...line);
    });
    return table(["Judgement", "Order", "Answer", ""], rows, "judged");
  };
  const filled = (pair, judged) => {
    const skeleton = head.prompts[judged[J.prompt]];
    const turns = pair.messages.map(([role, text]) => `${skeleton.labels[role]}${text}\n`).join("");
    const values = { F: pair.fences[skeleton.fence], T: turns, a: pair.responses[0], b: pair.responses[1] };
    const fill = (text) => text.replace(/\ue000(.)\ue001/gu, (_, hole) => values[hole]);
    return { system: fill(skeleton.system), user: fill(skeleton.user), then: skeleton.then };
  };
  const EXACT = {
    true: "This is exactly what the critic read: the key of its answer is the hash of this text.",
    false: "This is NOT what the critic read: the templates have changed since then.",
    null: "What the templates give. The key of such an answer covers several requests, so that it proves nothing.",
  };
  const promptOf = (pair, judged) => {
    const panel = make("div", "prompt");
    const cut = [...pair.messages.map((m) => m[1]), ...pair.responses].some((text) => typeof text !== "string");
    if (judged[J.prompt] === null || cut) {
      const why = make("code", "", ...visible(`rlaif why '${pair.id}' --in ${pair.round > 1 ? `round-${pair.round}/` : ""}label`));
      panel.append(make("p", "", "This page cannot rebuild this prompt. In the run folder, this prints it: ", why));
      return panel;
    }
    const text = filled(pair, judged);
    const turns = [["system", text.system], ["user", text.user]];
    judged[J.rationale].forEach((rationale) => turns.push(["critic’s rationale", rationale]));
    if (text.then) turns.push(["user", text.then]);
    panel.append(make("p", "small", EXACT[judged[J.exact]]));
    for (const [who, said] of turns) panel.append(make("p", "who", who), body(said, "mono"));
    return panel;
  };
  const openPrompt = (number) => {
    prompt = number;
    const scrolled = detail.scrollTop;
    describe();
    detail.scrollTop = scrolled;
    const panel = detail.querySelector(".prompt");
    if (panel) panel.scrollIntoView({ block: "nearest" });
  };
  const replies = (pair, p) => {
    const columns = pair.responses.map((response, n) => {
      const wins = p !== null && (n === 0 ? p > 0.5 : p < 0.5);
      const title = make("p", "who", `Response ${n + 1}${wins ? " · preferred" : ""}`);
      return make("div", wins ? "reply last" : "reply", title, body(response));
    });
    return make("div", "replies", ...columns);
  };
  const axesOf = (pair) => {
    const found = pair.axes.map(([name, p, coverage, veto]) => {
      const chip = make("span", "chip", named(name), " ", percent(p));
      if (coverage > 0 && coverage < 1) chip.append(`, ${percent(coverage)} of its weight answered`);
      if (veto !== null) chip.append(", decided by ", named(veto));
      return chip;
    });
    for (const [source, name, weight, p] of pair.opinions) {
      found.push(make("span", "chip", named(source), " ", named(name), ` (weight ${weight}) ${percent(p)}`));
    }
    if (pair.preferred !== null) found.push(make("span", "chip", `the data prefers response ${pair.preferred + 1}`));
    if (pair.position_bias !== null) found.push(make("span", "chip", `position bias ${pair.position_bias > 0 ? "+" : ""}${decimal(pair.position_bias)}`));
    return make("p", "chips", ...found);
  };
  const describe = () => {
    if (!shown.length) {
      detail.replaceChildren(make("p", "muted", "No pair passes these filters."));
      return;
    }
    const pair = pairs[shown[at]];
    const own = facts(pair, lenses[0]);
    const said = own.p === null ? "No label: nothing was answered." : `Response 1 is better: ${percent(own.p)}`;
    const weight = own.p === null ? "" : `, weight ${decimal(pair.weight)}${pair.abstained ? ", abstained" : ""}`;
    const title = make("p", "title", make("b", "", said), weight, " ", ...chips(own, pair));
    const place = make("p", "muted small", `${(at + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")} · `);
    place.append(named(pair.id));
    const turns = pair.messages.flatMap(([role, text], n) => {
      const last = n === pair.messages.length - 1;
      const who = pair.messages.length > 1 || role !== "user" ? [make("p", "who", role)] : [];
      return [...who, body(text, last ? "ask" : "")];
    });
    const parts = [place, ...turns, replies(pair, own.p), title, axesOf(pair)];
    if (pair.votes.length) parts.push(votesTable(pair));
    const none = judged === null ? "Reading the judgements …" : "The judgements of this pair are not in this page.";
    if (judgementsOf(pair).length) parts.push(judgementsTable(pair));
    else if (pair.votes.length) parts.push(make("p", "muted", none));
    if (prompt !== null) parts.push(promptOf(pair, judgementsOf(pair)[prompt]));
    detail.replaceChildren(...parts);
    detail.scrollTop = 0;
  };

  // ---- Controls ------------------------------------------------------------------------------------------------------

  const option = (text, value) => {
    const element = make("option", "", text.replace(UNSEEN, "·").slice(0, 60));
    element.value = value;
    return element;
  };
  const controls = () => {
    const distinct = (values) => [...new Set(values)].sort();
    const axes = distinct(pairs.flatMap((pair) => pair.axes.map((axis) => axis[0])));
    const principles = distinct(pairs.flatMap((pair) => pair.votes.map((vote) => vote[V.principle])));
    lenses = [{ kind: "all", name: "" }];
    const choice = $("pair-lens");
    choice.append(option("the whole label", "all"));
    for (const [kind, title, names] of [["axis", "One axis", axes], ["principle", "One principle", principles]]) {
      const group = make("optgroup", "");
      group.label = title;
      for (const name of names) {
        lenses.push({ kind, name });
        group.append(option(name, `${kind}-${lenses.length}`));
      }
      if (names.length) choice.append(group);
    }
    const fillIn = (id, any, values, needed) => {
      $(id).append(option(any, ""));
      for (const value of values) $(id).append(option(value, value));
      $(id).closest("label").hidden = values.length < needed;
    };
    fillIn("pair-source", "any source", distinct(pairs.map((pair) => pair.source)), 2);
    fillIn("pair-round", "any round", distinct(pairs.map((pair) => String(pair.round))), 2);
    fillIn("pair-flag", "any flag or none", distinct(pairs.flatMap((pair) => pair.flags)), 1);
    for (const [key, label, title] of TOGGLES) {
      const button = make("button", "toggle", label + " ", make("small", "", "0"));
      button.type = "button";
      button.id = "toggle-" + key;
      button.title = title;
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        if (!pressed.delete(key)) pressed.add(key);
        button.setAttribute("aria-pressed", String(pressed.has(key)));
        filter();
      });
      $("pair-toggles").append(button);
    }
    for (const id of ["pair-lens", "pair-source", "pair-round", "pair-flag", "pair-sort"]) $(id).addEventListener("change", filter);
    search.addEventListener("input", filter);
    list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    window.addEventListener("resize", draw);
    $("pair-help").addEventListener("click", () => $("pair-keys").showModal());
    $("pair-keys").querySelector("button").addEventListener("click", () => $("pair-keys").close());
  };

  const page = () => Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const MOVES = {
    ArrowDown: () => select(at + 1),
    ArrowUp: () => select(at - 1),
    PageDown: () => select(at + page()),
    PageUp: () => select(at - page()),
    Home: () => select(0),
    End: () => select(shown.length - 1),
  };
  const KEYS = {
    j: () => { select(at + 1); browser.scrollIntoView({ block: "nearest" }); },
    k: () => { select(at - 1); browser.scrollIntoView({ block: "nearest" }); },
    p: () => openPrompt(prompt === null && shown.length && judgementsOf(pairs[shown[at]]).length ? 0 : null),
    "/": () => { browser.scrollIntoView({ block: "nearest" }); search.focus(); },
    "?": () => $("pair-keys").showModal(),
  };
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("pair-keys").open) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape" || (event.key === "Enter" && event.target === search)) list.focus();
      return;
    }
    const act = KEYS[event.key] || (list.contains(event.target) ? MOVES[event.key] : undefined);
    if (act) {
      event.preventDefault();
      act();
    }
  };

  // ---- Start ----------------------------------------------------------------------------------------------------------

  const unpacked = async (id) => {
    const raw = atob($(id).textContent);
    $(id).remove();
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return (await new Response(stream).text()).trimEnd().split("\n");
  };
  const start = async () => {
    const lines = await unpacked("pair-data");
    head = JSON.parse(lines[0]);
    const places = (names) => Object.fromEntries(names.map((name, place) => [name, place]));
    V = places(head.columns.vote);
    J = places(head.columns.judgement);
    const names = head.columns.pair;
    for (let line = 1; line < lines.length; line += 1) {
      const values = JSON.parse(lines[line]);
      const pair = { number: line - 1 };
      for (let place = 0; place < names.length; place += 1) pair[names[place]] = values[place];
      pairs.push(pair);
    }
    document.documentElement.classList.add("scripted");
    browser.hidden = false;
    controls();
    filter();
    document.addEventListener("keydown", press);
    browser.dataset.readyMs = performance.now().toFixed(0);
    judged = await unpacked("judged-data");
    describe();
    browser.dataset.wholeMs = performance.now().toFixed(0);
    const warm = (from) => { // the first search is as quick as the others
      for (const pair of pairs.slice(from, from + 2000)) haystack(pair);
      if (from + 2000 < pairs.length) setTimeout(warm, 0, from + 2000);
    };
    setTimeout(warm, 0, 0);
  };
  if (browser) {
    start().catch((error) => {
      $("pair-trouble").hidden = false;
      throw error;
    });
  }
})();
