import { useId } from "react";
import type { Schemas } from "../../lib/api";
import { duration, signedMoney } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import type { Tile } from "./Tile";

/** Other choices as radio buttons, each with pros, cons and what it does to price and time. */
export function Alternatives({ tile, busy, onPick }: { tile: Tile; busy: boolean; onPick: (value: string) => void }) {
  const name = useId();
  const listed = tile.alternatives.some((alternative) => alternative.value === tile.value);
  return (
    <fieldset disabled={busy} className="min-w-0">
      <legend className="mb-2 text-sm text-mid">Choose another</legend>
      <div className="grid gap-2 lg:grid-cols-2">
        {!listed && <Row name={name} chosen value={tile.value} title={tile.recommendation || tile.value} note="the present choice" onPick={onPick} />}
        {tile.alternatives.map((item) => (
          <Row
            key={item.value} name={name} chosen={item.value === tile.value} value={item.value} title={item.title} pros={item.pros} cons={item.cons}
            recommended={item.isRecommended} effects={effects(item)} onPick={onPick} whyNot={item.available ? null : (item.whyNot ?? "Not available here.")}
          />
        ))}
      </div>
    </fieldset>
  );
}

function effects(item: Schemas["Alternative"]): string[] {
  const found: string[] = [];
  if (item.priceEffectUsd != null) found.push(Math.abs(item.priceEffectUsd) < 0.00005 ? "same price" : signedMoney(item.priceEffectUsd));
  if (item.timeEffectHours != null) {
    const seconds = Math.abs(item.timeEffectHours) * 3600;
    found.push(seconds < 1 ? "same time" : `${item.timeEffectHours < 0 ? "−" : "+"}${duration(seconds)}`);
  }
  return found;
}

function Row({
  name, chosen, value, title, pros = [], cons = [], effects: moves = [], recommended = false, whyNot = null, note, onPick,
}: {
  name: string; chosen: boolean; value: string; title: string; pros?: string[]; cons?: string[]; effects?: string[]; recommended?: boolean;
  whyNot?: string | null; note?: string; onPick: (value: string) => void;
}) {
  return (
    <label className={`flex min-w-0 items-start gap-3 rounded-field border p-3 text-sm transition-colors duration-150 ${chosen ? "border-signal/60 bg-ink-850" : "border-line/50"} ${whyNot ? "text-low" : "cursor-pointer hover:bg-ink-850"}`}>
      <input type="radio" name={name} value={value} checked={chosen} disabled={Boolean(whyNot)} onChange={() => onPick(value)} className="tick" />
      <span className="min-w-0 flex-1">
        <span className="flex flex-wrap items-center justify-between gap-x-3 gap-y-1">
          <span className={`font-medium break-words ${whyNot ? "text-low" : "text-hi"}`}>{title}</span>
          <span className="num text-xs text-mid">{moves.join(", ")}</span>
        </span>
        {recommended && <Badge tone="signal" icon="spark">Recommended</Badge>}
        {note && <span className="block text-xs text-low">{note}</span>}
        {pros.map((line) => <span key={line} className="block text-mid"><span aria-hidden="true" className="text-signal">+ </span><span className="visually-hidden">For: </span>{line}</span>)}
        {cons.map((line) => <span key={line} className="block text-mid"><span aria-hidden="true" className="text-hold">− </span><span className="visually-hidden">Against: </span>{line}</span>)}
        {whyNot && <span className="mt-1 block">Not available: {whyNot}</span>}
      </span>
    </label>
  );
}
