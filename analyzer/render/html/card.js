"use strict";
// The card of one connection and the ladder of its packets, drawn from plain values.
(() => {
  const { data, flows, rowOf, word, element, drawn, byId, span, size, probes } = LW;
  const dialog = byId("card"), body = byId("card-body");

  const pairs = (rows) => element("dl", {}, ...rows.flatMap(([name, words]) => [element("dt", {}, name), element("dd", {}, words)]));
  const section = (title, ...children) => [element("h3", {}, title), ...children];
  const list = (texts) => element("ul", {}, ...texts.map((text) => element("li", {}, text)));
  function frames(numbers) {
    const runs = [];
    for (const number of numbers) {
      if (runs.length && number === runs.at(-1).at(-1) + 1) runs.at(-1).push(number);
      else runs.push([number]);
    }
    const shown = runs.flatMap((run) => (run.length > 2 ? [run[0] + "-" + run.at(-1)] : run));
    return shown.length ? " [frame" + (numbers.length === 1 ? " " : "s ") + shown.slice(0, 12).join(" ") + (shown.length > 12 ? " ..." : "") + "]" : "";
  }

  function whole(card, ladder) {
    return [
      element("p", { class: "verdict" }, card.verdict + frames(card.frames)),
      ...card.findings.map(([severity, title]) => element("p", { class: "finding " + severity }, severity + ": " + title)),
      element("div", { class: "life" }, lifeline(card.life)),
      pairs(card.facts),
      ...section("Silence and heartbeats", pairs(card.silence)),
      ...section("Layers", pairs(card.layers)),
      ...(card.rejected.length ? section("Why not", list(card.rejected.map((one) => one.cause + ": " + one.fact))) : []),
      ...(card.advice.length ? section("Advice", list(card.advice)) : []),
      ...(card.unknowns.length ? section("Not known", list(card.unknowns)) : []),
      ...section("Ladder", element("div", { class: "ladder" }, steps(ladder))),
    ];
  }

  // What the row alone says, for a connection whose packets are not in the page.
  function brief(row) {
    const of = (name) => word(flows[name], row) || "unknown";
    const life = [
      ["opened", span(flows.start_s[row]) + " after the start, " + span(flows.duration_s[row])],
      ["silence", "wire " + (span(flows.max_wire_gap_s[row]) || "?") + ", payload " + (span(flows.max_payload_gap_s[row]) || "?")],
      ["payload", size(flows.payload_bytes_c[row]) + " sent, " + size(flows.payload_bytes_s[row]) + " received"],
      ["sent again", String((flows.retransmits_c[row] || 0) + (flows.retransmits_s[row] || 0)) + " segments"],
      ["probes", String(probes(row))],
      ["protocol", of("app_protocol")],
    ];
    const name = word(flows.sni, row) || word(flows.http_host, row);
    if (name) life.push(["name", name]);
    return [
      element("p", { class: "verdict" }, of("close_kind") + ": " + (word(flows.explanation, row) || "") + frames(flows.frames[row] || [])),
      element("p", {}, "By " + of("close_initiator") + ", trigger " + of("close_trigger") + ", " + of("basis") + "."),
      pairs(life),
      element("p", { class: "small" }, "Its packets are not in this page: longwire show FILE --flow " + flows.flow_id[row] + " --ladder prints them."),
    ];
  }

  // -------------------------------------------------------------------------------------- pictures

  function lifeline(life) {
    const W = 960, LEFT = 60, H = 108, wide = W - LEFT - 10;
    const x = (at) => LEFT + (life.span_s > 0 ? Math.min(1, Math.max(0, at / life.span_s)) * wide : 0);
    const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "img", "aria-label": "Lifeline: payload, silences and marks of both sides over time" });
    for (const [begin, end, by, filled] of life.silences) {
      const shade = drawn("rect", { class: "gap", x: x(begin), y: 8, width: Math.max(1, x(end) - x(begin)), height: 72 });
      const title = drawn("title");
      title.textContent = `${span(end - begin)} of silence, filled by ${filled || "none"}, ended by ${by}`;
      shade.append(title);
      svg.append(shade);
    }
    [["client", true, life.bytes_c, 40], ["server", false, life.bytes_s, 80]].forEach(([name, mine, bytes, base]) => {
      svg.append(text(4, base - 12, name));
      const top = Math.max(1, ...bytes);
      bytes.forEach((count, at) => {
        if (count) {
          const high = 3 + 22 * Math.sqrt(count / top);
          svg.append(drawn("rect", { class: "data", x: LEFT + (at * wide) / bytes.length, y: base - high, width: Math.max(1.5, wide / bytes.length - 1), height: high }));
        }
      });
      svg.append(drawn("line", { class: "post", x1: LEFT, x2: LEFT + wide, y1: base, y2: base }));
      for (const spot of life.spots.filter((one) => one.from_client === mine)) svg.append(mark(spot, x(spot.at_s), base));
    });
    for (const [begin, end] of [...life.silences].sort((a, b) => a[0] - a[1] - (b[0] - b[1])).slice(0, 8)) {
      const words = span(end - begin);
      if (x(end) - x(begin) > words.length * 7 + 8) svg.append(text((x(begin) + x(end)) / 2, 52, words, "middle", "quiet"));
    }
    svg.append(text(LEFT, 100, "0", "start", "quiet"), text(LEFT + wide, 100, span(life.span_s), "end", "quiet"));
    return svg;
  }

  function mark(spot, x, base) {
    const title = drawn("title");
    title.textContent = `${span(spot.at_s)}: ${spot.text}`;
    const kind = /^[a-z0-9]+$/.test(spot.kind) ? spot.kind : "data";
    const shape = kind === "rst" ? drawn("path", { d: `M${x - 5} ${base - 17}l10 10m0 -10l-10 10`, "stroke-width": 2 })
      : kind === "fin" || kind === "syn" ? drawn("rect", { x: x - 2, y: base - 18, width: 4, height: 18 })
      : kind === "probe" || kind === "retry" ? drawn("rect", { x: x - 1, y: base - 12, width: 2, height: 12 })
      : drawn("circle", { cx: x, cy: base - 6, r: 3 });
    shape.setAttribute("class", kind);
    shape.append(title);
    return shape;
  }

  function text(x, y, words, anchor = "start", look = "") {
    const made = drawn("text", { x, y, "text-anchor": anchor, class: look });
    made.textContent = words;
    return made;
  }

  function steps(ladder) {
    const W = 900, LEFT = 165, RIGHT = 890, ROW = 19;
    const H = 30 + ladder.steps.length * ROW + 8;
    const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "img", "aria-label": "Sequence diagram of the packets" });
    svg.append(text(60, 14, "seconds", "end", "quiet"), text(130, 14, "frame", "end", "quiet"), text(LEFT, 14, ladder.client + " (client)"), text(RIGHT, 14, ladder.server + " (server)", "end"));
    ladder.steps.forEach((step, at) => {
      const y = 36 + at * ROW;
      const dash = step.kind === "segment" ? "none" : "2 4";
      for (const x of [LEFT, RIGHT]) svg.append(drawn("line", { class: "post", x1: x, x2: x, y1: y - 14, y2: y + ROW - 14, "stroke-dasharray": dash }));
      if (step.kind !== "segment") {
        svg.append(text((LEFT + RIGHT) / 2, y, step.kind === "silence" ? "... " + step.text + " ..." : "(" + step.text + ")", "middle", "quiet"));
        return;
      }
      svg.append(text(80, y, step.at_s.toFixed(6), "end", "quiet"), text(130, y, String(step.frame), "end", "quiet"));
      svg.append(drawn("line", { class: "arrow", x1: LEFT + 2, x2: RIGHT - 2, y1: y + 4, y2: y + 4 }));
      const tip = step.from_client ? `${RIGHT - 1},${y + 4} ${RIGHT - 8},${y} ${RIGHT - 8},${y + 8}` : `${LEFT + 1},${y + 4} ${LEFT + 8},${y} ${LEFT + 8},${y + 8}`;
      svg.append(drawn("polygon", { class: "head", points: tip }));
      const words = step.note ? step.text + "   " + step.note : step.text;
      svg.append(step.from_client ? text(LEFT + 12, y, words) : text(RIGHT - 12, y, words, "end"));
    });
    if (!ladder.steps.length) svg.append(text(LEFT, 40, "no segments were kept"));
    return svg;
  }

  // -------------------------------------------------------------------------------------- opening

  function open(flowId) {
    const row = rowOf.get(flowId), kept = data.cards[flowId];
    if (row === undefined && kept === undefined) {
      byId("card-title").textContent = "flow " + flowId;
      body.replaceChildren(element("p", {}, "This connection is not in the page: longwire show FILE --flow " + flowId + " prints its card."));
    } else {
      const ends = kept ? [kept.card.client, kept.card.server] : [word(flows.client, row), word(flows.server, row)];
      byId("card-title").textContent = `flow ${flowId}  ${ends[0]} → ${ends[1]}`;
      body.replaceChildren(...(kept ? whole(kept.card, kept.ladder) : brief(row)));
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  function follow() {
    const asked = /^#flow-(\d+)$/.exec(location.hash);
    if (asked) open(Number(asked[1]));
    else if (dialog.open) dialog.close();
  }
  addEventListener("hashchange", follow);
  dialog.addEventListener("close", () => {
    if (location.hash.startsWith("#flow-")) history.replaceState(null, "", location.pathname + location.search);
  });
  byId("card-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  LW.follow = follow;
})();
