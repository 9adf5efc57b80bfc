// What a segmentation is: label maps, the tree of its regions, and what there is to say of each part.
const OUT = 65535;

async function unpack(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

class Scene {
  constructor(raw) {
    Object.assign(this, raw);
    this.most = this.regions.length;
    this.fewest = this.most - this.merges.length;
    this.start = Math.min(Math.max(this.n_regions, this.fewest), this.most);
    if (this.n_regions > this.most) this.start = Math.min(this.most, Math.max(this.fewest, 20));
  }

  async open() {
    if (this.maps) return this;
    const [labels, leaves, certainty] = await Promise.all([
      unpack(this.labels, Uint16Array), unpack(this.leaves, Uint16Array), unpack(this.certainty, Uint8Array),
    ]);
    this.maps = { labels, leaves, certainty };
    return this;
  }

  hex(mean) {
    const code = (v) => Math.round(255 * Math.min(1, Math.max(0, (v - this.black) / (this.white - this.black))));
    const [r, g, b] = mean.length < 3 ? [mean[0], mean[0], mean[0]] : mean;
    return "#" + [r, g, b].map((v) => code(v).toString(16).padStart(2, "0")).join("");
  }

  // Parts to show, largest first, and a map from what `map` holds to their place.
  segments() {
    const rows = this.table.map((row, number) => ({ ...row, number, name: `Segment ${number}` }));
    const parts = rows.filter((part) => part.pixels > 0);
    const place = new Int32Array(this.k).fill(-1);
    parts.forEach((part, i) => { place[part.number] = i; });
    return { parts, map: this.maps.labels, place };
  }

  cut(n) {
    const name = Int32Array.from({ length: this.most }, (_, i) => i);
    const taken = this.merges.slice(0, Math.max(0, this.most - n));
    for (let t = taken.length - 1; t >= 0; t--) name[taken[t][0]] = name[taken[t][1]];
    const groups = new Map(), known = new Set(this.known);
    for (let leaf = 0; leaf < this.most; leaf++) {
      const [share, segment, ...moments] = this.regions[leaf];
      const power = share + (known.has(leaf) ? 1 : 0);  // known labels outvote all others
      const one = { share, votes: new Map([[segment, power]]), mean: [], variance: [] };
      for (let i = 0; i < moments.length; i += 2) { one.mean.push(moments[i]); one.variance.push(moments[i + 1]); }
      const there = groups.get(name[leaf]);
      if (!there) { groups.set(name[leaf], one); continue; }
      const w = share / (there.share + share);
      for (let i = 0; i < one.mean.length; i++) {
        const step = one.mean[i] - there.mean[i];
        there.variance[i] += w * (one.variance[i] - there.variance[i]) + w * (1 - w) * step * step;
        there.mean[i] += w * step;
      }
      there.share += share;
      there.votes.set(segment, (there.votes.get(segment) ?? 0) + power);
    }
    const order = [...groups.entries()].sort((a, b) => b[1].share - a[1].share);
    const at = new Map(order.map(([key], i) => [key, i]));
    const place = Int32Array.from(name, (key) => at.get(key));
    const parts = order.map(([, g], i) => {
      const segment = [...g.votes.entries()].sort((a, b) => b[1] - a[1])[0][0];
      return {
        number: i, name: `Region ${i}`, share: g.share, mean: g.mean, hex: this.hex(g.mean),
        spread: g.variance.map((v) => Math.sqrt(Math.max(v, 0))), of: segment,
      };
    });
    return { parts, map: this.maps.leaves, place };
  }
}
