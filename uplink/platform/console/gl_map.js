// The map on MapLibre GL: cases, their 95 % ellipses, unit grids, vehicle tracks, and a background of tiles if configured.
import * as maplibre from "./vendor/maplibre-gl/maplibre-gl.mjs";

const METRES_PER_DEG = 111319.49;
const STATES = ["open", "monitoring", "reopened", "resolved", "candidate", "rejected", "withdrawn", "merged"];
const MOST_ELLIPSES = 3000, GRIDS_FROM_ZOOM = 13;
maplibre.setWorkerUrl("/static/vendor/maplibre-gl/maplibre-gl-worker.mjs");

const nothing = () => ({ type: "FeatureCollection", features: [] });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const stateColour = () => ["match", ["get", "state"], ...STATES.flatMap((s) => [s, colour(s) || colour("other")]), colour("other")];

function ring(item) {
  const { semi_major_m: major, semi_minor_m: minor, azimuth_deg: azimuth } = item.ellipse;
  const turn = azimuth * Math.PI / 180, east = METRES_PER_DEG * Math.cos(item.position.lat_deg * Math.PI / 180);
  const points = [];
  for (let k = 0; k <= 48; k++) {
    const along = major * Math.cos(k * Math.PI / 24), across = minor * Math.sin(k * Math.PI / 24);
    const e = along * Math.sin(turn) + across * Math.cos(turn), n = along * Math.cos(turn) - across * Math.sin(turn);
    points.push([item.position.lon_deg + e / east, item.position.lat_deg + n / METRES_PER_DEG]);
  }
  return points;
}

export class GlMap {
  /** Throws when WebGL is missing. `onReady` is called once the style is drawn. */
  constructor(box, { onPick, onHover, onReady, tiles, credit, grids }) {
    const probe = document.createElement("canvas");
    if (!probe.getContext("webgl2")) throw new Error("no WebGL 2");
    this.cases = [];
    this.grids = grids;
    this.map = new maplibre.Map({
      container: box, center: [120, 30], zoom: 3, attributionControl: false, fadeDuration: 0, dragRotate: false, pitchWithRotate: false,
      maxZoom: 21, style: this.#style(tiles, credit),
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.addControl(new maplibre.ScaleControl({ maxWidth: 110 }), "bottom-left");
    this.map.on("load", () => { this.ready = true; this.#push(); onReady(); });
    this.map.on("click", (e) => onPick(this.#at(e.point)));
    this.map.on("mousemove", (e) => {
      const item = this.#at(e.point);
      this.map.getCanvas().style.cursor = item ? "pointer" : "";
      onHover(item, e.point.x, e.point.y, item ? null : this.#gridAt(e.point));
    });
    this.map.on("moveend", () => this.#loadGrids());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
    new ResizeObserver(() => this.map.resize()).observe(box);
  }

  #style(tiles, credit) {
    const sources = {}, layers = [{ id: "ground", type: "background", paint: { "background-color": colour("map") } }];
    if (tiles) {
      sources.tiles = { type: "raster", tiles: [new URL(tiles, location.href).href.replaceAll("%7B", "{").replaceAll("%7D", "}")], tileSize: 256, attribution: credit, maxzoom: 19 };
      layers.push({ id: "tiles", type: "raster", source: "tiles" });
    }
    for (const name of ["grids", "tracks", "ellipses", "cases"]) sources[name] = { type: "geojson", data: nothing() };
    layers.push(
      { id: "grid-fill", type: "fill", source: "grids", paint: { "fill-color": colour("accent"), "fill-opacity": 0.04 } },
      { id: "grid-line", type: "line", source: "grids", paint: { "line-color": colour("grid-line"), "line-width": 1 } },
      { id: "track-told", type: "line", source: "tracks", filter: ["get", "told"], paint: { "line-color": colour("track"), "line-width": 2.5, "line-opacity": 0.75 } },
      { id: "track-seen", type: "line", source: "tracks", filter: ["!", ["get", "told"]], paint: { "line-color": colour("track"), "line-width": 2, "line-opacity": 0.45, "line-dasharray": [1, 2] } },
      { id: "ellipse-fill", type: "fill", source: "ellipses", paint: { "fill-color": stateColour(), "fill-opacity": ["case", ["get", "chosen"], 0.3, 0.14] } },
      { id: "ellipse-line", type: "line", source: "ellipses", paint: { "line-color": stateColour(), "line-width": ["case", ["get", "chosen"], 2, 1], "line-opacity": 0.8 } },
      { id: "cases", type: "circle", source: "cases", layout: { "circle-sort-key": ["case", ["get", "chosen"], 1, 0] }, paint: {
        "circle-color": stateColour(), "circle-stroke-color": colour("rim"), "circle-stroke-width": ["case", ["get", "chosen"], 3, 2],
        "circle-radius": ["interpolate", ["linear"], ["zoom"], 8, ["case", ["get", "chosen"], 7, 3], 15, ["case", ["get", "chosen"], 10, 6]] } });
    return { version: 8, sources, layers };
  }

  #paint() {
    if (!this.ready) return;
    const set = (layer, name, value) => this.map.setPaintProperty(layer, name, value);
    set("ground", "background-color", colour("map"));
    set("grid-line", "line-color", colour("grid-line"));
    for (const layer of ["track-told", "track-seen"]) set(layer, "line-color", colour("track"));
    set("ellipse-fill", "fill-color", stateColour());
    set("ellipse-line", "line-color", stateColour());
    set("cases", "circle-color", stateColour());
    set("cases", "circle-stroke-color", colour("rim"));
  }

  setCases(cases, selected) {
    this.cases = cases;
    this.selected = selected;
    this.#push();
    if (!this.fitted && cases.length) this.fit(false);
  }

  setTracks(tracks) {
    this.tracks = tracks;
    this.#push();
  }

  show_layers({ ellipses, grids, tracks }) {
    this.layers = { ellipses, grids, tracks };
    if (!this.ready) return;
    if (grids) this.#loadGrids();
    const sets = { ellipses: ["ellipse-fill", "ellipse-line"], grids: ["grid-fill", "grid-line"], tracks: ["track-told", "track-seen"] };
    for (const [name, ids] of Object.entries(sets)) {
      for (const id of ids) this.map.setLayoutProperty(id, "visibility", this.layers[name] ? "visible" : "none");
    }
  }

  #push() {
    if (!this.ready) return;
    const feature = (item, geometry) => ({ type: "Feature", geometry, properties: { id: item.case_id, state: item.state, chosen: item.case_id === this.selected } });
    const points = this.cases.map((item) => feature(item, { type: "Point", coordinates: [item.position.lon_deg, item.position.lat_deg] }));
    const rings = this.cases.slice(0, MOST_ELLIPSES).map((item) => feature(item, { type: "Polygon", coordinates: [ring(item)] }));
    this.map.getSource("cases").setData({ type: "FeatureCollection", features: points });
    this.map.getSource("ellipses").setData({ type: "FeatureCollection", features: rings });
    const lines = (this.tracks ?? []).filter((t) => t.points.length > 1).map((t) => ({ type: "Feature", properties: { told: t.told },
      geometry: { type: "LineString", coordinates: t.points } }));
    this.map.getSource("tracks").setData({ type: "FeatureCollection", features: lines });
  }

  async #loadGrids() {
    if (!this.ready || !this.grids || !this.layers?.grids) return;
    if (this.map.getZoom() < GRIDS_FROM_ZOOM) return this.map.getSource("grids").setData(nothing());
    const b = this.map.getBounds(), clip = (v, most) => Math.max(-most, Math.min(most, v));
    const box = [clip(b.getWest(), 180), clip(b.getSouth(), 90), clip(b.getEast(), 180), clip(b.getNorth(), 90)].map((v) => v.toFixed(6)).join(",");
    const reply = await fetch(`/v1/map/grids?box=${box}`).catch(() => null);
    if (reply?.ok) this.map.getSource("grids").setData(await reply.json());
  }

  #at(point) {
    if (!this.ready) return null;
    const reach = 8, box = [[point.x - reach, point.y - reach], [point.x + reach, point.y + reach]];
    const [found] = this.map.queryRenderedFeatures(box, { layers: ["cases"] });
    return found ? this.cases.find((item) => item.case_id === found.properties.id) ?? null : null;
  }

  #gridAt(point) {
    if (!this.ready || !this.grids) return null;
    const [found] = this.map.queryRenderedFeatures(point, { layers: ["grid-fill"] });
    return found ? found.properties.name ?? found.properties.id : null;
  }

  fit(animate = true) {
    if (!this.cases.length) return;
    const bounds = new maplibre.LngLatBounds();
    for (const item of this.cases) bounds.extend([item.position.lon_deg, item.position.lat_deg]);
    this.map.fitBounds(bounds, { padding: 60, maxZoom: 19, animate: animate && !matchMedia("(prefers-reduced-motion: reduce)").matches });
    this.fitted = true;
  }

  show(item) {
    const point = this.map.project([item.position.lon_deg, item.position.lat_deg]), size = this.map.getContainer();
    if (point.x < 60 || point.y < 60 || point.x > size.clientWidth - 60 || point.y > size.clientHeight - 60) {
      this.map.easeTo({ center: [item.position.lon_deg, item.position.lat_deg], duration: 300 });
    }
  }

  zoom(factor) { this.map.easeTo({ zoom: this.map.getZoom() + Math.log2(factor), duration: 150 }); }
}
