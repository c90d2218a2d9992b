"use strict";
/* The page: sliders, curves and points. What is computed is in the programs, which program.js runs. */

const explorer = (() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const encoded = atob(document.getElementById("constants").textContent);
  const known = Program.constants(
    content.shapes,
    Uint8Array.from(encoded, (character) => character.charCodeAt(0)).buffer,
  );
  const names = content.parameters.map((parameter) => parameter.name);
  const RESPONSE = "a2";
  const REDSHIFT = "z";
  const SVG = "http://www.w3.org/2000/svg";
  const SIZE = { width: 400, height: 270, left: 52, right: 8, top: 8, bottom: 26 };
  const SAME_REDSHIFT = 0.01;

  const state = {};
  for (const { name, value } of content.parameters) state[name] = value;
  if (content.response) state[RESPONSE] = content.response.value;
  state[REDSHIFT] = content.redshift;

  const sliders = {};
  // The measurement that is shown where there are several: that of the preset chosen last.
  let chosen = content.presets.length ? content.presets[0].label : "";

  function element(tag, attributes = {}, parent = null, namespace = null) {
    const made = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  }

  function write(label, parent) {
    for (const [where, text] of label) {
      parent.append(where ? Object.assign(document.createElement(where), { textContent: text }) : text);
    }
  }

  /* Everything at a point: by the names of the program's outputs. */
  function predict(values) {
    const at = content.redshifts.reduce((best, z, i) =>
      Math.abs(z - values[REDSHIFT]) < Math.abs(content.redshifts[best] - values[REDSHIFT]) ? i : best, 0);
    return Program.run(content.programs[at], known, {
      theta: names.map((name) => values[name]),
      response: [values[RESPONSE]],
    });
  }

  function addSlider(name, label, low, high, step) {
    const box = element("label", { class: "slider" }, document.getElementById("sliders"));
    write(label, element("span", {}, box));
    const shown = element("output", {}, box);
    const input = element("input", { type: "range", min: low, max: high, step, name }, box);
    input.addEventListener("input", () => {
      state[name] = Number(input.value);
      update();
    });
    sliders[name] = { input, shown };
  }

  function addControls() {
    for (const { name, label, low, high } of content.parameters) addSlider(name, label, low, high, 0.001);
    if (content.response) {
      const { low, high } = content.response;
      addSlider(RESPONSE, [["", "a"], ["sub", "2"], ["", ", response of shapes"]], low, high, 0.001);
    }
    if (content.redshifts.length > 1) {
      const { input } = (addSlider(REDSHIFT, [["", "redshift"]], 0, content.redshifts.length - 1, 1),
        sliders[REDSHIFT]);
      input.addEventListener("input", () => {
        state[REDSHIFT] = content.redshifts[Number(input.value)];
        update();
      });
    }
    const presets = document.getElementById("presets");
    for (const preset of content.presets) {
      const button = element("button", { type: "button" }, presets);
      button.textContent = preset.label;
      button.addEventListener("click", () => {
        Object.assign(state, preset.values);
        chosen = preset.label;
        update();
      });
    }
    document.getElementById("copy").addEventListener("click", async (event) => {
      const button = event.target;
      try {
        await navigator.clipboard.writeText(location.href);
        button.textContent = "Copied";
      } catch {
        button.textContent = "The link is in the address bar";
      }
      setTimeout(() => (button.textContent = "Copy a link to this view"), 2000);
    });
    document.getElementById("weights").textContent = content.weights;
    document.getElementById("about").textContent = content.about;
  }

  const panels = content.panels.map((panel) => {
    const figure = element("figure", { "data-statistic": panel.name }, document.getElementById("panels"));
    write(panel.label, element("figcaption", {}, figure));
    const svg = element("svg", { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img" }, figure, SVG);
    svg.setAttribute("aria-label", panel.label.map(([, text]) => text).join(""));
    const axis = element("div", { class: "note", style: "text-align:center;margin:0" }, figure);
    write(panel.separation, axis);
    return { ...panel, svg };
  });

  function ticks(low, high) {
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
    return found;
  }

  function short(x) {
    return String(Number(x.toPrecision(3)));
  }

  /* What was measured of a panel's statistic: the sample that was chosen, or the only one. */
  function measured(panel) {
    const there = content.data.filter(
      (each) => panel.name in each.panels && Math.abs(each.redshift - state[REDSHIFT]) < SAME_REDSHIFT);
    const found = there.length === 1 ? there[0] : there.find((each) => each.label === chosen);
    return found ? found.panels[panel.name] : null;
  }

  function draw(panel, found) {
    const scaled = (what) => found[`${panel.name} ${what}`]?.map((x, i) => x * panel.factor[i]);
    const mean = scaled("mean");
    const bands = ["aleatoric", "epistemic"].map((what) => [what, scaled(what)]).filter(([, x]) => x);
    const data = measured(panel);
    const r = [...panel.r, ...(data ? data.r : [])];
    const values = bands.flatMap(([, sigma]) => mean.flatMap((x, i) => [x - sigma[i], x + sigma[i]]));
    if (data) data.values.forEach((x, i) => values.push(x - data.errors[i], x + data.errors[i]));
    values.push(0, ...mean);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.04 * (high - low) || 1;
    low = low < 0 ? low - margin : 0;
    high += margin;
    const [first, last] = [Math.log10(Math.min(...r)) - 0.05, Math.log10(Math.max(...r)) + 0.05];
    const { width, height, left, right, top, bottom } = SIZE;
    const x = (value) => left + ((Math.log10(value) - first) / (last - first)) * (width - left - right);
    const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
    const path = (points) => points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("L");
    const parts = [];
    const add = (tag, attributes, text) => parts.push([tag, attributes, text]);
    for (const value of ticks(low, high)) {
      add("line", { class: value === 0 ? "zero" : "tick", x1: left, x2: width - right, y1: y(value), y2: y(value) });
      add("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, short(value));
    }
    for (let power = Math.ceil(first); power <= last; power++) {
      const at = x(10 ** power);
      add("line", { class: "tick", x1: at, x2: at, y1: top, y2: height - bottom });
      add("text", { x: at, y: height - 9, "text-anchor": "middle" }, short(10 ** power));
    }
    add("rect", { class: "frame", x: left, y: top, width: width - left - right, height: height - top - bottom });
    for (const [what, sigma] of bands) {
      const upper = panel.r.map((a, i) => [a, mean[i] + sigma[i]]);
      const lower = panel.r.map((a, i) => [a, mean[i] - sigma[i]]).reverse();
      add("path", { class: what, d: `M${path([...upper, ...lower])}Z` });
    }
    add("path", { class: "mean", d: `M${path(panel.r.map((a, i) => [a, mean[i]]))}` });
    if (data) {
      data.r.forEach((a, i) => {
        const [value, error] = [data.values[i], data.errors[i]];
        add("line", { class: "error", x1: x(a), x2: x(a), y1: y(value - error), y2: y(value + error) });
        add("circle", { class: "datum", cx: x(a), cy: y(value), r: 3 });
      });
    }
    panel.svg.replaceChildren(...parts.map(([tag, attributes, text]) => {
      const made = element(tag, attributes, null, SVG);
      if (text !== undefined) made.textContent = text;
      return made;
    }));
  }

  function tabulate(found) {
    const tables = panels.map((panel) => {
      const table = document.createElement("table");
      const columns = ["mean", "aleatoric", "epistemic"].filter((what) => found[`${panel.name} ${what}`]);
      const head = table.insertRow();
      for (const title of [panel.name, ...columns]) element("th", {}, head).textContent = title;
      panel.r.forEach((r, i) => {
        const row = table.insertRow();
        row.insertCell().textContent = r.toPrecision(4);
        for (const what of columns) row.insertCell().textContent = found[`${panel.name} ${what}`][i].toPrecision(6);
      });
      return table;
    });
    document.getElementById("numbers").replaceChildren(...tables);
  }

  /* Predictions at the point of the domain that is next to the sliders'. */
  function predictInside() {
    const found = predict(state);
    let isInside = true;
    names.forEach((name, i) => {
      const [low, high] = [found.lower[i], found.upper[i]];
      const { input } = sliders[name];
      [input.min, input.max] = [Math.ceil(low * 1000) / 1000, Math.floor(high * 1000) / 1000];
      const inside = Math.min(Math.max(state[name], low), high);
      isInside = isInside && inside === state[name];
      state[name] = inside;
    });
    return isInside ? found : predict(state);
  }

  function showState() {
    for (const [name, { input, shown }] of Object.entries(sliders)) {
      input.value = name === REDSHIFT ? content.redshifts.indexOf(state[name]) : state[name];
      shown.textContent = state[name].toFixed(name === REDSHIFT ? 2 : 3);
    }
    document.querySelectorAll("#presets button").forEach((button, i) => {
      const { values } = content.presets[i];
      const same = Object.entries(values).every(([name, value]) => Math.abs(state[name] - value) < 5e-4);
      button.classList.toggle("chosen", same);
    });
  }

  function link() {
    const values = Object.entries(state).map(([name, value]) => [name, String(Number(value.toFixed(4)))]);
    return `#${new URLSearchParams([...values, ["data", chosen]])}`;
  }

  function readLink() {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      if (name === "data") chosen = value;
      if (value.trim() === "" || !Number.isFinite(Number(value))) continue;
      if (name === REDSHIFT) {
        state[name] = content.redshifts.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
      } else if (name === RESPONSE && content.response) {
        state[name] = Math.min(Math.max(Number(value), content.response.low), content.response.high);
      } else if (names.includes(name)) {
        state[name] = Number(value);
      }
    }
    // The parameter that limits follow comes first, into its own.
    for (const { name, low, high } of content.parameters) state[name] = Math.min(Math.max(state[name], low), high);
  }

  let waiting = false;

  function update() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      redraw();
    });
  }

  function redraw() {
    const start = performance.now();
    const found = predictInside();
    for (const panel of panels) draw(panel, found);
    showState();
    if (document.querySelector("details").open) tabulate(found);
    history.replaceState(null, "", link());
    const took = performance.now() - start;
    document.getElementById("time").textContent = `${took.toFixed(0)} ms`;
    return took;
  }

  addControls();
  readLink();
  redraw();
  window.addEventListener("hashchange", () => {
    readLink();
    update();
  });
  document.querySelector("details").addEventListener("toggle", update);
  return { predict, redraw, state, content };
})();
