"""The look of the pages: one column, system fonts, ink on paper, the same in light and in dark."""

CSS = """
:root {
  --paper: #faf9f6; --card: #fff; --ink: #1b1c1f; --muted: #696a70; --line: #e3e0d8; --faint: #f1eee7;
  --accent: #2f57c9; --accent-soft: #2f57c926; --good: #1a7a52; --good-soft: #1a7a521a; --bad: #bd3438;
  --bad-soft: #bd343817; --twin: #9a6a13;
  --c0: #4269d0; --c1: #d98a1f; --c2: #c8413f; --c3: #3a8f86; --c4: #5b9a3c; --c5: #9361c7; --c6: #c95f96;
    --c7: #7d6148;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #131417; --card: #1b1d21; --ink: #e9e7e2; --muted: #9b9ca2; --line: #2e3138; --faint: #23262b;
  --accent: #8ea8ff; --accent-soft: #8ea8ff33; --good: #5cc793; --good-soft: #5cc7931f; --bad: #f08583;
  --bad-soft: #f085831f; --twin: #d9ad5b;
  --c0: #7f9cf0; --c1: #e0a552; --c2: #e57b78; --c3: #5fb9af; --c4: #86c266; --c5: #b48ee0; --c6: #e08fb8;
    --c7: #b3957a;
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.9rem, 5vw, 2.6rem); line-height: 1.1; letter-spacing: -.022em; margin: .3rem 0 .5rem; }
h2 { font-size: 1.22rem; letter-spacing: -.01em; margin: 0 0 .3rem; }
h3 { font-size: .95rem; margin: 1.4rem 0 .5rem; }
section { margin-top: 3.2rem; }
p { margin: 0 0 .8rem; max-width: 46rem; }
.brand { font-size: .78rem; font-weight: 600; letter-spacing: .09em; text-transform: uppercase;
  color: var(--accent); }
.lead { font-size: 1.12rem; color: var(--muted); }
.note, .small { color: var(--muted); font-size: .92rem; }
.small { font-size: .82rem; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .86em; }
pre { background: var(--faint); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; line-height: 1.5;
  margin: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.1rem 1.25rem; }
.facts { display: flex; flex-wrap: wrap; gap: .35rem 1.6rem; padding: 0; margin: 1.2rem 0 0; list-style: none; }
.facts b { font-weight: 600; font-variant-numeric: tabular-nums; } .facts span { color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: .82rem; }
th, td { padding: .42rem .9rem .42rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.wide { width: 100%; } .num { white-space: nowrap; }

.headline { display: grid; grid-template-columns: minmax(11rem, auto) 1fr; gap: .5rem 2.4rem; align-items: center; }
.headline .metric { grid-template-columns: 9.5rem 1fr 9.5rem; }
.headline .big { font-size: clamp(2.8rem, 9vw, 4.2rem); font-weight: 650; letter-spacing: -.04em; line-height: 1;
  font-variant-numeric: tabular-nums; }
.metric { display: grid; grid-template-columns: 11.5rem 1fr 10.5rem; gap: .1rem 1.1rem; align-items: center;
  padding: .34rem 0; }
.metric .name { overflow-wrap: anywhere; }
.metric .figures { display: grid; grid-template-columns: 1fr 5.9rem; align-items: baseline; text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.metric .figures b { font-weight: 600; } .metric .figures span { color: var(--muted); font-size: .82rem; }
.meter { position: relative; height: 1.15rem; border-radius: 4px; background: var(--faint); }
.meter.none { background: none; }
.meter i { position: absolute; top: 0; bottom: 0; }
.meter .fill { left: 0; background: var(--accent-soft); border-radius: 4px; }
.meter .ci { background: var(--accent); opacity: .35; min-width: 2px; }
.meter .dot { width: 3px; margin-left: -1.5px; background: var(--accent); border-radius: 2px; }
.meter .twin { width: 11px; height: 11px; margin: 0 0 0 -5.5px; top: calc(50% - 5.5px); border: 2px solid var(--twin);
  border-radius: 50%; background: var(--card); }
.meter .chance { width: 0; border-left: 2px dotted var(--muted); margin-left: -1px; }
.meter .goal { width: 0; border-left: 2px solid var(--ink); margin-left: -1px; top: -3px; bottom: -3px; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.3rem; margin: .9rem 0 0; color: var(--muted);
  font-size: .82rem; }
.legend span { display: inline-flex; align-items: center; gap: .4rem; }
.legend .meter { width: 1.5rem; height: .8rem; display: inline-block; background: none; }
.swatch { display: inline-block; width: .75rem; height: .75rem; border-radius: 3px; }

.pipeline { display: flex; flex-wrap: wrap; gap: .55rem; align-items: stretch; }
.pipeline .card { flex: 1 1 9.2rem; padding: .75rem .95rem; }
.pipeline .arrow { align-self: center; color: var(--muted); }
.pipeline .role { color: var(--muted); font-size: .8rem; } .pipeline .what { font-weight: 600; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; }
.charts.two { grid-template-columns: 2fr 1fr; margin-top: 1.4rem; }
.stack { display: grid; gap: 1rem; align-content: start; }
.chart svg, svg.map { display: block; width: 100%; height: auto; overflow: visible; }
.chart h3 { margin: 0 0 .4rem; } svg text { font: 10px system-ui, sans-serif; fill: var(--muted); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--muted); }
svg .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }

.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem;
  align-items: start; }
.gallery .card { padding: 0; overflow: hidden; }
.gallery img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: contain;
  background: var(--faint); }
.crisp { image-rendering: pixelated; }
.gallery ul { list-style: none; margin: 0; padding: .35rem .95rem .6rem; font-size: .9rem; }
.gallery li { padding: .42rem 0; border-top: 1px solid var(--line); } .gallery li:first-child { border: 0; }
.answer { font-weight: 600; } .right { color: var(--good); } .wrong { color: var(--bad); }
.truth { color: var(--good); } .aside { color: var(--muted); font-size: .82rem; display: block; }
.aside.wrong { color: var(--bad); }
.id { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.filter { display: inline-flex; gap: .5rem; align-items: center; margin: 0 0 1rem; color: var(--muted);
  font-size: .92rem; }
.results:has(#mistakes:checked) .flawless { display: none; }
.results:has(#mistakes:checked) li.fine { display: none; }

.stage { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; margin: 0 0 1rem; color: var(--muted);
  font-size: .92rem; }
.stage b { color: var(--ink); font-weight: 600; }
.sample { margin: 0 0 .9rem; }
.sample header { display: flex; flex-wrap: wrap; gap: .1rem .9rem; align-items: baseline; margin-bottom: .55rem; }
.sample .body { display: flex; gap: 1.1rem; align-items: flex-start; flex-wrap: wrap; }
.tiles { display: grid; gap: 3px; } .tiles + .tiles { margin-top: 6px; }
.tiles figure { margin: 0; position: relative; overflow: hidden; }
.region { position: absolute; border: 1.5px solid #fff; outline: 1.5px solid #000; }
.tiles img { display: block; width: 100%; height: auto; border-radius: 3px; }
.picture { width: 8.5rem; flex: none; }
.picture figcaption { color: var(--muted); font-size: .78rem; margin-top: .25rem; }
.tokens { flex: 1 1 20rem; line-height: 2.05; font-family: ui-monospace, Menlo, Consolas, "Liberation Mono",
  monospace; font-size: .82rem; }
.t { display: inline-block; white-space: pre; padding: 0 .28rem; margin: 0 1px; border-radius: 4px;
  line-height: 1.55; background: var(--faint); color: var(--muted); border: 1px solid transparent; }
.t.sup { background: var(--good-soft); color: var(--good); }
.t.mark { border-color: var(--line); background: none; }
.t.mark.sup { border-color: var(--good); background: var(--good-soft); }
.t.media { background: var(--accent-soft); color: var(--accent); font-weight: 600; }
.t .sp { opacity: .45; }
.banner { border-left: 3px solid var(--bad); padding: .5rem .9rem; background: var(--bad-soft);
  border-radius: 0 8px 8px 0; }
details summary { cursor: pointer; color: var(--muted); font-size: .92rem; margin: .6rem 0; }
footer { margin-top: 3.5rem; color: var(--muted); font-size: .82rem; }

@media (max-width: 640px) {
  main { padding: 1.6rem 1rem 3rem; }
  .headline, .charts.two { grid-template-columns: 1fr; }
  .headline .metric { grid-template-columns: 1fr auto; }
  .metric { grid-template-columns: 1fr auto; padding: .5rem 0; } .metric .meter { grid-column: 1 / -1; grid-row: 2; }
  .pipeline { flex-direction: column; } .pipeline .card { flex: none; }
  .pipeline .arrow { transform: rotate(90deg); line-height: 1; }
  .gallery { grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .7rem; }
}
@media print { body { background: #fff; } .filter { display: none; } section { break-inside: avoid; } }
"""
