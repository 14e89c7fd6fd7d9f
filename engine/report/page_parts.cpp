#include "engine/report/page_parts.h"

namespace imago {

const char* const kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #f7f6f3; --card: #ffffff; --edge: #e6e3dc; --grid: #eceae4; --text: #22211f; --soft: #75716a;
  --accent: #d4601a; --q1: #2b62c4; --q2: #0f9a8a; --q3: #d39a00; --q4: #c6384a; --q5: #7b4bb8; --q6: #66717d;
  --cool: #2b62c4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141416; --card: #1c1c1f; --edge: #2c2c31; --grid: #29292e; --text: #ececef; --soft: #98959f;
    --accent: #f08a3c; --q1: #6d9ef2; --q2: #3cc4b2; --q3: #e6b938; --q4: #ee6a78; --q5: #b394f0; --q6: #9aa6b2;
    --cool: #6d9ef2;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 40px 24px 56px; max-width: 1128px; background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased;
}
header { margin-bottom: 24px; }
h1 { margin: 0; font-size: 28px; font-weight: 650; line-height: 1.2; letter-spacing: -0.015em; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); font-size: 15px; }
main { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; align-items: stretch; }
.wide { grid-column: 1 / -1; }
.card { margin: 0; padding: 16px 20px 18px; background: var(--card); border: 1px solid var(--edge); border-radius: 10px; }
.card h2, figcaption b { margin: 0; font-size: 14px; font-weight: 600; }
dl.facts { display: flex; flex-wrap: wrap; gap: 12px 44px; margin: 22px 0 0; }
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { margin: 0; font-size: 21px; font-weight: 600; letter-spacing: -0.01em; }
.facts dd small { font-size: 13px; font-weight: 400; color: var(--soft); letter-spacing: 0; }

.chart { display: flex; flex-direction: column; }
.chart figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 10px; }
.card small, .legend { color: var(--soft); font-size: 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 0 12px; margin-left: auto; }
.legend i { display: inline-block; width: 12px; height: 2px; margin-right: 5px; vertical-align: middle; border-radius: 1px; }
.legend .faint i { opacity: .35; }
.plot { position: relative; flex: 1; min-height: 184px; margin: 16px 6px 20px 38px; }
.wide .plot { min-height: 280px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.plot path { fill: none; stroke: var(--color); vector-effect: non-scaling-stroke; }
.plot .grid { stroke: var(--grid); stroke-width: 1; }
.curve { stroke-width: 1.75; stroke-linejoin: round; stroke-linecap: round; }
.curve.faint { stroke-width: 1; opacity: .3; }
.plot .band { fill: var(--color); stroke: none; opacity: .2; }
.plot span { position: absolute; color: var(--soft); font-size: 11px; line-height: 1; white-space: nowrap; }
.plot .y { right: 100%; margin-right: 8px; transform: translateY(50%); }
.plot .x { top: 100%; margin-top: 8px; transform: translateX(-50%); }
.plot .cursor { top: 0; bottom: 0; width: 1px; background: var(--soft); opacity: .5; pointer-events: none; }
.plot .tip {
  top: 4px; padding: 7px 10px; border-radius: 6px; background: var(--text); color: var(--page); line-height: 1.5;
  white-space: pre; pointer-events: none; z-index: 1;
}

.samples { display: flex; flex-wrap: wrap; align-content: flex-start; gap: 6px; grid-row: span 2; }
.samples h2 { flex-basis: 100%; }
.samples small { margin-left: 6px; font-weight: 400; }
.samples input[type=radio] { position: absolute; opacity: 0; pointer-events: none; }
.samples figure { display: none; order: 1; flex-basis: 100%; margin: 8px 0 4px; text-align: center; }
.samples input:checked + label + figure { display: block; }
.samples img { max-width: 100%; height: auto; image-rendering: pixelated; border-radius: 4px; vertical-align: bottom; }
.samples label {
  order: 2; padding: 2px 8px; border: 1px solid var(--edge); border-radius: 99px; color: var(--soft); font-size: 12px;
  cursor: pointer;
}
.samples input:checked + label { background: var(--text); border-color: var(--text); color: var(--page); }
.samples input:focus-visible + label { outline: 2px solid var(--accent); outline-offset: 1px; }
.samples .slider { order: 3; flex-basis: 100%; display: flex; align-items: center; gap: 14px; color: var(--soft); }
.slider input { flex: 1; min-width: 0; accent-color: var(--accent); }
.slider output { min-width: 96px; text-align: right; }
.slid label, .slid > input { display: none; }
.samples.wide { grid-row: auto; }

table { width: 100%; border-collapse: collapse; }
.card h2 + table, .card h2 + .columns { margin-top: 10px; }
td { padding: 4px 0; vertical-align: top; border-top: 1px solid var(--grid); overflow-wrap: anywhere; }
tr:first-child td { border-top: 0; }
td:first-child { padding-right: 16px; color: var(--soft); overflow-wrap: normal; }
td:last-child, .figures td + td, .figures th + th { text-align: right; }
th { padding: 4px 0; color: var(--soft); font-size: 12px; font-weight: 400; text-align: left; }
.figures tr:nth-child(2) td { border-top: 0; }
.image img { max-width: 100%; height: auto; margin-top: 10px; image-rendering: pixelated; border-radius: 4px; }
.columns { columns: 2; column-gap: 40px; font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.columns div {
  display: flex; justify-content: space-between; gap: 16px; padding: 3px 0; break-inside: avoid;
  border-bottom: 1px solid var(--grid);
}
.columns span { color: var(--soft); }
.columns span + span { color: inherit; text-align: right; overflow-wrap: anywhere; min-width: 0; }

@media (max-width: 760px) {
  body { padding: 24px 14px; }
  main { grid-template-columns: minmax(0, 1fr); }
  .samples { grid-row: auto; }
  .columns { columns: 1; }
  .wide .plot { min-height: 200px; }
  .wide .plot .x.second { display: none; }
}
@media print { body { background: none; } .card { break-inside: avoid; } }
)css";

const char* const kReportScript = R"js(
for (const box of document.querySelectorAll('.samples')) {
  const radios = [...box.querySelectorAll('input')];
  if (radios.length < 2) continue;
  const bar = document.createElement('div'), range = document.createElement('input');
  const text = document.createElement('output');
  bar.className = 'slider';
  range.type = 'range';
  range.max = radios.length - 1;
  range.value = radios.findIndex(r => r.checked);
  range.setAttribute('aria-label', 'step');
  const show = () => {
    radios[range.value].checked = true;
    text.value = 'step ' + radios[range.value].value;
  };
  range.oninput = show;
  bar.append(range, text);
  box.append(bar);
  box.querySelector('h2 small').remove();
  box.classList.add('slid');
  show();
}
const at_x = v => (Math.abs(v) < 10 ? +v.toFixed(1) : Math.round(v)).toLocaleString('en');
const short = v => v === 0 ? '0' : Math.abs(v) < 1e-3 ? v.toExponential(2) : String(+v.toPrecision(3));
for (const plot of document.querySelectorAll('.plot')) {
  const [x0, x1, y0, y1, log] = plot.dataset.range.split(' ').map(Number);
  const curves = [...plot.querySelectorAll('.curve:not(.faint)')].map(path => ({
    name: path.dataset.name,
    points: path.getAttribute('d').split(/[ML]/).slice(1).map(p => p.split(' ').map(parseFloat)),
  }));
  const cursor = document.createElement('span'), tip = document.createElement('span');
  cursor.className = 'cursor';
  tip.className = 'tip';
  cursor.hidden = tip.hidden = true;
  plot.append(cursor, tip);
  plot.onpointerleave = () => { cursor.hidden = tip.hidden = true; };
  plot.onpointermove = event => {
    const area = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)), at = 1000 * share;
    const lines = curves.map(c => {
      const near = c.points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
      const up = 1 - near[1] / 1000;
      return (c.name ? c.name + '  ' : '') + short(log ? y0 * (y1 / y0) ** up : y0 + (y1 - y0) * up);
    });
    cursor.hidden = tip.hidden = false;
    cursor.style.left = 100 * share + '%';
    tip.textContent = [plot.dataset.x + ' ' + at_x(x0 + (x1 - x0) * share), ...lines].join('\n');
    tip.style.left = share < .6 ? `calc(${100 * share}% + 10px)` : 'auto';
    tip.style.right = share < .6 ? 'auto' : `calc(${100 - 100 * share}% + 10px)`;
  };
}
)js";

// Two wings.
const char* const kReportIcon =
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Cg "
    "fill='%23d4601a'%3E"
    "%3Cpath d='M15 15C13 6 5 3 2 6s2 12 13 11zM17 15C19 6 27 3 30 6s-2 12-13 11z'/%3E"
    "%3Cpath d='M15 18C8 18 5 23 7 26s7 1 8-6zM17 18c7 0 10 5 8 8s-7 1-8-6z' "
    "opacity='.7'/%3E%3C/g%3E%3C/svg%3E";

}  // namespace imago
