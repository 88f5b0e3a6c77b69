// A plain map where WebGL is missing: cases with their error ellipses on a metric grid. East is right, north is up.
const METRES_PER_DEG = 111319.49;
const MIN_SCALE = 0.002, MAX_SCALE = 400;

function niceStep(metres) {
  const power = 10 ** Math.floor(Math.log10(metres));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= metres);
}

export class CaseMap {
  constructor(box, { onPick, onHover, onReady }) {
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.className = "plain-map";
    box.append(canvas);
    this.canvas = canvas;
    this.tracks = [];
    this.layers = { ellipses: true, tracks: true };
    setTimeout(onReady);
    this.onPick = onPick;
    this.onHover = onHover;
    this.cases = [];
    this.selected = null;
    this.centre = { lat: 30, lon: 120 };
    this.scale = 1; // pixels per metre
    this.fitted = false;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.#listen();
  }

  setCases(cases, selected) {
    this.cases = cases;
    this.selected = selected;
    if (!this.fitted && cases.length) this.fit();
    this.draw();
  }

  setTracks(tracks) {
    this.tracks = tracks;
    this.draw();
  }

  show_layers(layers) {
    this.layers = layers;
    this.draw();
  }

  fit() {
    if (!this.cases.length || !this.width) return;
    const lats = this.cases.map((c) => c.position.lat_deg), lons = this.cases.map((c) => c.position.lon_deg);
    const span = (values) => [Math.min(...values), Math.max(...values)];
    const [south, north] = span(lats), [west, east] = span(lons);
    this.centre = { lat: (south + north) / 2, lon: (west + east) / 2 };
    const tall = Math.max((north - south) * METRES_PER_DEG, 12), wide = Math.max((east - west) * this.#eastMetres(), 12);
    this.scale = Math.min((this.width - 130) / wide, (this.height - 130) / tall, 40);
    this.fitted = true;
    this.draw();
  }

  show(item) {
    const [x, y] = this.#pixel(item.position);
    const margin = 60;
    if (x < margin || y < margin || x > this.width - margin || y > this.height - margin) {
      this.centre = { lat: item.position.lat_deg, lon: item.position.lon_deg };
    }
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(MAX_SCALE, Math.max(MIN_SCALE, this.scale * factor));
    const dx = (x - this.width / 2) * (1 / this.scale - 1 / scale), dy = (y - this.height / 2) * (1 / this.scale - 1 / scale);
    this.scale = scale;
    this.#move(dx, dy);
  }

  #eastMetres() { return METRES_PER_DEG * Math.cos(this.centre.lat * Math.PI / 180); }

  #move(eastMetres, southMetres) {
    this.centre = { lat: this.centre.lat - southMetres / METRES_PER_DEG, lon: this.centre.lon + eastMetres / this.#eastMetres() };
    this.draw();
  }

  #pixel(position) {
    return [
      this.width / 2 + (position.lon_deg - this.centre.lon) * this.#eastMetres() * this.scale,
      this.height / 2 - (position.lat_deg - this.centre.lat) * METRES_PER_DEG * this.scale,
    ];
  }

  #resize() {
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.fitted) this.fit();
    this.draw();
  }

  #listen() {
    const canvas = this.canvas;
    let drag = null;
    canvas.addEventListener("pointerdown", (e) => {
      drag = { x: e.offsetX, y: e.offsetY, moved: false };
      canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!drag) return this.onHover(this.#at(e.offsetX, e.offsetY), e.offsetX, e.offsetY);
      if (Math.hypot(e.offsetX - drag.x, e.offsetY - drag.y) > 3) drag.moved = true;
      if (drag.moved) {
        this.#move((drag.x - e.offsetX) / this.scale, (drag.y - e.offsetY) / this.scale);
        [drag.x, drag.y] = [e.offsetX, e.offsetY];
      }
    });
    canvas.addEventListener("pointerup", (e) => {
      if (drag && !drag.moved) this.onPick(this.#at(e.offsetX, e.offsetY));
      drag = null;
    });
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.zoom(Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const step = 60 / this.scale;
      const action = {
        ArrowLeft: () => this.#move(-step, 0), ArrowRight: () => this.#move(step, 0), ArrowUp: () => this.#move(0, -step),
        ArrowDown: () => this.#move(0, step), "+": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4),
      }[e.key];
      if (action) { e.preventDefault(); action(); }
    });
  }

  #at(x, y) {
    let best = null, nearest = 14;
    for (const item of this.cases) {
      const [px, py] = this.#pixel(item.position);
      const distance = Math.hypot(px - x, py - y);
      if (distance < nearest) [best, nearest] = [item, distance];
    }
    return best;
  }

  draw() {
    if (!this.width) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const g = this.canvas.getContext("2d");
    g.clearRect(0, 0, this.width, this.height);
    this.#drawGrid(g, colour);
    if (this.layers.tracks) this.#drawTracks(g, colour);
    const ordered = [...this.cases].sort((a, b) => (a.case_id === this.selected) - (b.case_id === this.selected));
    for (const item of ordered) this.#drawCase(g, item, colour(item.state) || colour("other"), colour("rim"));
    this.#drawScale(g, colour);
  }

  #drawGrid(g, colour) {
    const step = niceStep(90 / this.scale);
    const stepLat = step / METRES_PER_DEG, stepLon = step / this.#eastMetres();
    const halfLat = this.height / 2 / this.scale / METRES_PER_DEG, halfLon = this.width / 2 / this.scale / this.#eastMetres();
    g.strokeStyle = colour("grid");
    g.lineWidth = 1;
    g.beginPath();
    for (let lon = Math.ceil((this.centre.lon - halfLon) / stepLon) * stepLon; lon < this.centre.lon + halfLon; lon += stepLon) {
      const x = this.#pixel({ lat_deg: this.centre.lat, lon_deg: lon })[0];
      g.moveTo(x, 0); g.lineTo(x, this.height);
    }
    for (let lat = Math.ceil((this.centre.lat - halfLat) / stepLat) * stepLat; lat < this.centre.lat + halfLat; lat += stepLat) {
      const y = this.#pixel({ lat_deg: lat, lon_deg: this.centre.lon })[1];
      g.moveTo(0, y); g.lineTo(this.width, y);
    }
    g.stroke();
  }

  #drawTracks(g, colour) {
    g.strokeStyle = colour("track");
    g.lineWidth = 2;
    for (const track of this.tracks) {
      g.setLineDash(track.told ? [] : [2, 5]);
      g.beginPath();
      for (const [lon, lat] of track.points) g.lineTo(...this.#pixel({ lon_deg: lon, lat_deg: lat }));
      g.stroke();
    }
    g.setLineDash([]);
  }

  #drawCase(g, item, colour, rim) {
    const [x, y] = this.#pixel(item.position);
    const chosen = item.case_id === this.selected;
    if (this.layers.ellipses) this.#drawEllipse(g, item, colour, chosen);
    g.fillStyle = colour;
    g.beginPath();
    g.arc(x, y, chosen ? 9 : 6, 0, 2 * Math.PI);
    g.fill();
    g.strokeStyle = rim;
    g.lineWidth = 2;
    g.stroke();
  }

  #drawEllipse(g, item, colour, chosen) {
    const [x, y] = this.#pixel(item.position);
    const { semi_major_m: major, semi_minor_m: minor, azimuth_deg: azimuth } = item.ellipse;
    g.beginPath();
    g.ellipse(x, y, Math.max(major * this.scale, 1), Math.max(minor * this.scale, 1), (azimuth - 90) * Math.PI / 180, 0, 2 * Math.PI);
    g.globalAlpha = chosen ? 0.32 : 0.16;
    g.fillStyle = colour;
    g.fill();
    g.globalAlpha = 0.8;
    g.strokeStyle = colour;
    g.lineWidth = chosen ? 2 : 1;
    g.stroke();
    g.globalAlpha = 1;
  }

  #drawScale(g, colour) {
    const metres = niceStep(70 / this.scale), length = metres * this.scale, y = this.height - 22;
    g.strokeStyle = g.fillStyle = colour("soft");
    g.lineWidth = 2;
    g.beginPath();
    g.moveTo(18, y - 5); g.lineTo(18, y); g.lineTo(18 + length, y); g.lineTo(18 + length, y - 5);
    g.stroke();
    g.font = "12px system-ui, sans-serif";
    g.fillText(metres >= 1000 ? `${metres / 1000} km` : `${Number(metres.toPrecision(2))} m`, 22, y - 7);
    g.fillText("N ↑", 18, 24);
  }
}
