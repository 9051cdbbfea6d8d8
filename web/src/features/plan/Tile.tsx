import * as m from "motion/react-m";
import { type ReactNode, useState } from "react";
import type { Schemas } from "../../lib/api";
import { sentence } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Icon, type IconName } from "../../ui/Icon";
import { Alternatives } from "./Alternatives";
import { factRows } from "./facts";

export type Tile = Schemas["ImplementationTile"];
export type Edit = Schemas["PlanModification"];

export const TILE_ICONS: Record<Tile["category"], IconName> = {
  model: "model", method: "method", data: "data", gpu: "gpu", config: "config", budget: "budget",
};

/** A fact of more letters than this stands under its name, not beside it. */
const LONG = 30;

/** One decision: what, why, the facts, and a way to change it. */
export function TileCard({
  tile, at, moved, busy, locked, onEdit, drawing, children,
}: { tile: Tile; at: number; moved: boolean; busy: boolean; locked: boolean; onEdit: (edit: Edit) => void; drawing?: ReactNode; children?: ReactNode }) {
  const [open, setOpen] = useState(false);
  const facts = factRows(tile.category, tile.facts);
  const changeable = !locked && (tile.alternatives.length > 0 || Boolean(children));
  return (
    <m.section
      aria-labelledby={`tile-${tile.category}`} data-open={open || undefined} initial={{ opacity: 0, y: 8 }} animate={{ opacity: 1, y: 0 }}
      transition={{ duration: 0.2, delay: Math.min(at, 6) * 0.03 }}
      className={`card flex min-w-0 flex-col p-4 sm:p-5 ${moved ? "border-signal/60" : ""} ${open ? "md:col-span-2 lg:col-span-3" : tile.category === "config" ? "md:col-span-2 lg:group-has-[[data-open]]/tiles:col-span-3" : ""}`}
    >
      <header className="flex items-start justify-between gap-3">
        <TileTitle tile={tile} />
        <Status tile={tile} moved={moved} />
      </header>
      <p className="mt-3 text-lg font-semibold break-words">{tileTitle(tile)}</p>
      <p className="mt-1 text-sm break-words text-mid">{tile.description}</p>
      {drawing}
      {facts.length > 0 && (
        <dl className={`mt-3 grid gap-x-10 gap-y-1 text-sm ${tile.category === "config" || open ? "md:grid-cols-2" : ""}`}>
          {facts.slice(0, open ? 20 : tile.category === "config" ? 8 : 5).map(([name, value]) => (
            <div key={name} className={value.length > LONG ? "" : "flex justify-between gap-4"}>
              <dt className="shrink-0 text-low">{name}</dt>
              <dd className={`min-w-0 break-words ${value.length > LONG ? "text-mid" : "text-right text-hi tabular-nums"}`}>{sentence(value)}</dd>
            </div>
          ))}
        </dl>
      )}
      {open && (
        <div className="enter mt-4 grid gap-4 border-t border-edge pt-4">
          {children}
          {tile.alternatives.length > 0 && (
            <Alternatives tile={tile} busy={busy} onPick={(value) => onEdit({ type: "select_alternative", value, nlpPrompt: null })} />
          )}
        </div>
      )}
      {changeable && (
        <div className="mt-auto pt-4">
          <Button look="plain" icon={open ? "check" : "edit"} aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? "Done" : "Change"}<span className="visually-hidden"> {tile.title}</span>
          </Button>
        </div>
      )}
    </m.section>
  );
}

export function TileTitle({ tile }: { tile: Tile }) {
  return (
    <div className="flex items-center gap-2.5">
      <span className="grid size-9 shrink-0 place-items-center rounded-control bg-ink-850 text-signal"><Icon name={TILE_ICONS[tile.category]} size={18} /></span>
      <h2 id={`tile-${tile.category}`} className="text-sm font-normal tracking-normal text-mid">{tile.title}</h2>
    </div>
  );
}

/** What was chosen. A model's size and licence are among its facts, so its name stands alone. */
export function tileTitle(tile: Tile): string {
  const title = tile.recommendation || tile.value;
  return tile.category === "model" ? (title.split(", ")[0] ?? title) : title;
}

function Status({ tile, moved }: { tile: Tile; moved: boolean }) {
  if (moved) return <Badge tone="signal" icon="arrow">Just changed</Badge>;
  if (tile.status === "approved") return <Badge tone="signal" icon="check">Approved</Badge>;
  if (tile.status !== "pending") return <Badge tone="info" icon="edit">{sentence(tile.status)}</Badge>;
  return tile.isRecommended ? <Badge tone="signal" icon="spark">Recommended</Badge> : <Badge>Your choice</Badge>;
}
