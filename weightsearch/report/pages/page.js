"use strict";
// Tables are folded, pictures get their lens, then the figures are drawn: plotly is unpacked, runs
// because the page's policy names its digest, and draws one figure after the other, so that the
// page can be read meanwhile.
for (const behind of document.querySelectorAll("details.behind")) behind.open = false;

for (const frame of document.querySelectorAll(".frame")) {
  const sliders = Object.fromEntries(
    [...frame.querySelectorAll("input[data-sets]")].map((slider) => [slider.dataset.sets, slider]));
  const set = (name, value) => {
    sliders[name].value = value;
    frame.style.setProperty("--" + name, sliders[name].value);
  };
  for (const name in sliders) sliders[name].addEventListener("input", () => set(name, sliders[name].value));
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    set("across", 100 * (event.clientX - box.left) / box.width);
    set("down", 100 * (event.clientY - box.top) / box.height);
  };
  for (const lens of frame.querySelectorAll(".lens")) {
    lens.addEventListener("click", (event) => {
      point(event);
      set("zoom", sliders.zoom.value > 1 ? 1 : 4);
    });
    lens.addEventListener("mousemove", (event) => sliders.zoom.value > 1 && point(event));
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function template(isDark) {
  const ink = isDark ? "#e8eaed" : "#1f2430";
  const grid = isDark ? "#3a3f4b" : "#e3e6ea";
  const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true };
  return {
    layout: {
      font: { color: ink, family: "system-ui, sans-serif", size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: axis, yaxis: axis,
      hoverlabel: { bgcolor: isDark ? "#22262f" : "#ffffff", font: { color: ink } },
    },
  };
}

function draw(plot, isDark) {
  const width = plot.clientWidth;
  if (!width) return null;  // it is folded away
  const { data, layout } = JSON.parse(plot.nextElementSibling.textContent);
  layout.template = template(isDark);
  layout.autosize = true;
  layout.height = plot.clientHeight;
  layout.dragmode = matchMedia("(pointer: fine)").matches ? "zoom" : false;
  layout.margin = { ...layout.margin, t: 24 };  // the title stands above, where it can wrap
  if (width < 500) {
    if (layout.xaxis?.visible !== false && layout.yaxis?.visible !== false) {
      layout.margin = { ...layout.margin, l: 48, r: 12 };
    }
    layout.font = { size: 12 };
  }
  return Plotly.react(plot, data, layout, { displayModeBar: false, responsive: false });
}

async function drawAll() {
  const packed = document.getElementById("plotly");
  if (!packed) return;
  const text = atob(packed.textContent), bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);  // from() takes ten times as long
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const plots = [...document.querySelectorAll(".plot")];
  let paused = 0;
  for (const plot of plots) {
    await draw(plot, dark.matches);
    if (performance.now() < paused + 200) continue;  // each pause lays out and paints the page
    await new Promise((next) => setTimeout(next));
    paused = performance.now();
  }
  const again = (isDark) => plots.forEach((plot) => draw(plot, isDark));
  for (const more of document.querySelectorAll("details.more")) {
    more.addEventListener("toggle", () => more.open
      && more.querySelectorAll(".plot").forEach((plot) => draw(plot, dark.matches)));
  }
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => again(dark.matches), 200);
  });
  dark.addEventListener("change", () => again(dark.matches));
  addEventListener("beforeprint", () => {
    document.body.classList.add("paper");  // figures are drawn as wide as they are printed
    again(false);
  });
  addEventListener("afterprint", () => {
    document.body.classList.remove("paper");
    again(dark.matches);
  });
  document.documentElement.dataset.drawn = String(plots.length);
}

drawAll().catch((error) => {
  document.documentElement.classList.add("undrawn");
  for (const behind of document.querySelectorAll("details.behind")) behind.open = true;
  console.error(error);
});
