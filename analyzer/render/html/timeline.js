"use strict";
// One lane per connection on one canvas as high as its window: only the lanes in sight are drawn, however many there are.
(() => {
  const { data, flows, count, word, element, byId, span, matching, colour } = LW;
  const LANE = 22, HEAD = 26;
  const box = byId("lanes"), canvas = byId("lanes-canvas"), spacer = byId("lanes-spacer");
  const context = canvas.getContext("2d");
  const END = Math.max(1e-6, ...flows.end_s.map((value) => value || 0), ...data.gaps.end_s.map((value) => value || 0));
  const state = { rows: [], from: 0, to: END, drag: null };

  // What belongs to each lane, found once.
  const group = (lanes) => {
    const out = Array.from({ length: count }, () => []);
    lanes.forEach((lane, at) => out[lane].push(at));
    return out;
  };
  const gapsOf = group(data.gaps.lane), marksOf = group(data.marks.lane);

  const labelWidth = () => (box.clientWidth < 700 ? 92 : 320);
  const xOf = (seconds) => labelWidth() + ((seconds - state.from) / (state.to - state.from)) * (box.clientWidth - labelWidth() - 8);
  const secondsAt = (x) => state.from + ((x - labelWidth()) / (box.clientWidth - labelWidth() - 8)) * (state.to - state.from);

  function draw() {
    spacer.style.height = HEAD + Math.max(1, state.rows.length) * LANE + "px"; // the box is as high, up to its limit
    const width = box.clientWidth, height = box.clientHeight, ratio = devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const paint = Object.fromEntries(["ground", "panel", "ink", "quiet", "line", "data", "gap", "gap-ink", "probe", "beat", "bad", "fin", "open", "link"].map((name) => [name, colour(name)]));
    context.fillStyle = paint.ground;
    context.fillRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const first = Math.floor(box.scrollTop / LANE), last = Math.min(state.rows.length, first + Math.ceil(height / LANE) + 1);
    for (let at = first; at < last; at++) lane(state.rows[at], HEAD + at * LANE - box.scrollTop, width, paint, at);
    axis(width, height, paint);
    if (state.drag && Math.abs(state.drag.to - state.drag.from) > 4) {
      context.fillStyle = paint.link;
      context.globalAlpha = 0.2;
      context.fillRect(Math.min(state.drag.from, state.drag.to), HEAD, Math.abs(state.drag.to - state.drag.from), height);
      context.globalAlpha = 1;
    }
  }

  function lane(row, y, width, paint, at) {
    const left = labelWidth(), middle = y + LANE / 2;
    if (at % 2) { context.fillStyle = paint.panel; context.fillRect(0, y, width, LANE); }
    context.save();
    context.beginPath();
    context.rect(left, y, width - left, LANE);
    context.clip();
    const begin = xOf(flows.start_s[row]), end = xOf(flows.end_s[row]);
    context.fillStyle = paint.data;
    context.fillRect(begin, middle - 4, Math.max(2, end - begin), 8);
    for (const gap of gapsOf[row]) {
      const from = xOf(data.gaps.begin_s[gap]), to = xOf(data.gaps.end_s[gap] ?? flows.end_s[row]);
      if (to < left || from > width || to - from < 0.5) continue;
      context.fillStyle = paint.ground;
      context.fillRect(from, middle - 5, to - from, 10);
      context.fillStyle = paint.gap;
      context.fillRect(from, middle - 2, to - from, 4);
    }
    for (const mark of marksOf[row]) {
      const x = xOf(data.marks.at_s[mark]);
      if (x < left || x > width) continue;
      const up = word(data.marks.dir, mark) === "c2s", beat = word(data.marks.kind, mark) === "beat";
      context.fillStyle = data.marks.lost[mark] ? paint.bad : beat ? paint.beat : paint.probe;
      if (beat) { context.beginPath(); context.arc(x, middle + (up ? -4 : 4), 2.5, 0, 7); context.fill(); }
      else context.fillRect(x - 1, up ? middle - 8 : middle, 2, 8);
    }
    ending(row, middle, paint);
    for (const gap of gapsOf[row]) seconds(row, gap, y, left, width, at % 2 ? paint.panel : paint.ground, paint["gap-ink"]);
    context.restore();
    label(row, middle, left, paint);
  }

  // How long a silence was, in the middle of what is seen of it, if there is room.
  function seconds(row, gap, y, left, width, ground, ink) {
    const until = data.gaps.end_s[gap] ?? flows.end_s[row];
    const from = Math.max(left, xOf(data.gaps.begin_s[gap])), to = Math.min(width, xOf(until));
    if (to - from < 40) return;
    const words = span(until - data.gaps.begin_s[gap]), wide = context.measureText(words).width;
    if (to - from < wide + 24) return;
    context.fillStyle = ground;
    context.fillRect((from + to - wide) / 2 - 4, y + 2, wide + 8, LANE - 4);
    context.fillStyle = ink;
    context.fillText(words, (from + to - wide) / 2, y + LANE / 2);
  }

  function ending(row, middle, paint) {
    const kind = word(flows.close_kind, row) || "", x = xOf(flows.close_s[row] ?? flows.end_s[row]);
    context.lineWidth = 2;
    if (kind.startsWith("fin_") || kind.startsWith("half_")) {
      context.fillStyle = paint.fin;
      context.fillRect(x - 3, middle - 6, 6, 12);
    } else if (kind.startsWith("open_") || kind === "capture_gap") {
      context.strokeStyle = paint.open;
      context.beginPath();
      context.moveTo(xOf(flows.end_s[row]) - 1, middle - 5);
      context.lineTo(xOf(flows.end_s[row]) + 6, middle);
      context.lineTo(xOf(flows.end_s[row]) - 1, middle + 5);
      context.stroke();
    } else {
      context.strokeStyle = paint.bad;
      context.beginPath();
      context.moveTo(x - 5, middle - 5);
      context.lineTo(x + 5, middle + 5);
      context.moveTo(x - 5, middle + 5);
      context.lineTo(x + 5, middle - 5);
      context.stroke();
    }
  }

  function label(row, middle, left, paint) {
    context.save();
    context.beginPath();
    context.rect(0, middle - LANE / 2, left - 6, LANE);
    context.clip();
    context.fillStyle = paint.ink;
    const id = String(flows.flow_id[row]);
    context.fillText(id, 6, middle);
    context.fillStyle = paint.quiet;
    const rest = left < 200 ? word(flows.close_kind, row) || "" : (word(flows.client, row) || "") + " → " + (word(flows.server, row) || "");
    context.fillText(rest, 6 + Math.max(34, context.measureText(id).width + 8), middle);
    context.restore();
  }

  function axis(width, height, paint) {
    context.fillStyle = paint.ground;
    context.fillRect(0, 0, width, HEAD);
    const wide = state.to - state.from, room = (width - labelWidth()) / 110;
    const rough = wide / Math.max(1, room), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
    const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step))));
    context.strokeStyle = paint.line;
    context.fillStyle = paint.quiet;
    context.lineWidth = 1;
    for (let at = Math.ceil(state.from / step) * step; at <= state.to + step * 1e-9; at += step) {
      const x = Math.round(xOf(at)) + 0.5;
      context.beginPath();
      context.moveTo(x, HEAD - 5);
      context.lineTo(x, HEAD);
      context.stroke();
      const words = at.toFixed(digits) + " s";
      context.fillText(words, Math.min(x - context.measureText(words).width / 2, width - context.measureText(words).width - 2), 10);
    }
    if (labelWidth() > 200) context.fillText("seconds from the start", 6, 10);
    context.beginPath();
    context.moveTo(0, HEAD - 0.5);
    context.lineTo(width, HEAD - 0.5);
    context.stroke();
  }

  const ORDERS = {
    score: (a, b) => a - b,
    start: (a, b) => flows.start_s[a] - flows.start_s[b] || a - b,
    silence: (a, b) => (flows.max_payload_gap_s[b] || 0) - (flows.max_payload_gap_s[a] || 0) || a - b,
    life: (a, b) => (flows.duration_s[b] || 0) - (flows.duration_s[a] || 0) || a - b,
  };

  function choose() {
    state.rows = matching(byId("lane-search").value).sort(ORDERS[byId("lane-sort").value]);
    byId("lane-count").textContent = state.rows.length.toLocaleString("en") + " of " + count.toLocaleString("en") + " lanes";
    box.scrollTop = 0;
    draw();
  }

  function zoom(from, to) {
    const least = 1e-6;
    state.from = Math.max(0, Math.min(from, END - least));
    state.to = Math.min(END, Math.max(to, state.from + least));
    draw();
  }
  const scaled = (factor) => {
    const middle = (state.from + state.to) / 2, half = ((state.to - state.from) / 2) * factor;
    zoom(middle - half, middle + half);
  };
  const moved = (share) => {
    const wide = state.to - state.from, by = Math.max(-state.from, Math.min(END - state.to, wide * share));
    zoom(state.from + by, state.to + by);
  };

  const laneAt = (event) => {
    const y = event.clientY - canvas.getBoundingClientRect().top;
    return y < HEAD ? undefined : state.rows[Math.floor((y - HEAD + box.scrollTop) / LANE)];
  };
  const across = (event) => event.clientX - canvas.getBoundingClientRect().left;
  canvas.addEventListener("pointerdown", (event) => {
    state.drag = { from: across(event), to: across(event) };
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.drag || event.pointerType !== "mouse") return;
    state.drag.to = across(event);
    requestAnimationFrame(draw);
  });
  canvas.addEventListener("pointercancel", () => { state.drag = null; });
  canvas.addEventListener("pointerup", (event) => {
    const drag = state.drag;
    state.drag = null;
    if (!drag) return;
    if (event.pointerType === "mouse" && Math.abs(drag.to - drag.from) > 4) {
      zoom(secondsAt(Math.min(drag.from, drag.to)), secondsAt(Math.max(drag.from, drag.to)));
      return;
    }
    const row = laneAt(event);
    if (row !== undefined) location.hash = "flow-" + flows.flow_id[row];
  });
  canvas.addEventListener("dblclick", () => zoom(0, END));
  box.addEventListener("scroll", () => requestAnimationFrame(draw));
  box.addEventListener("keydown", (event) => {
    const act = { "+": () => scaled(0.5), "-": () => scaled(2), ArrowLeft: () => moved(-0.25), ArrowRight: () => moved(0.25), 0: () => zoom(0, END) }[event.key];
    if (act) { act(); event.preventDefault(); }
  });
  byId("lane-search").addEventListener("input", choose);
  byId("lane-sort").addEventListener("change", choose);
  for (const [id, act] of [["zoom-in", () => scaled(0.5)], ["zoom-out", () => scaled(2)], ["pan-left", () => moved(-0.5)], ["pan-right", () => moved(0.5)], ["zoom-all", () => zoom(0, END)]]) {
    byId(id).addEventListener("click", act);
  }

  const LEGEND = [["data", "open, with data"], ["gap", "silence, with its seconds"], ["probe", "keep-alive probe (above: client, below: server)"], ["beat", "heartbeat"], ["bad", "unanswered; reset or given up (×)"], ["fin", "closed in order (bar)"], ["open", "still open (>)"]];
  function legend() {
    byId("legend").replaceChildren(...LEGEND.map(([name, words]) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = colour(name);
      return element("span", {}, swatch, words);
    }));
  }
  legend();
  choose();
  LW.redraw.push(draw);
  LW.timeline = { zoom, range: () => [state.from, state.to], lanes: () => state.rows.length };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { legend(); draw(); });
})();
