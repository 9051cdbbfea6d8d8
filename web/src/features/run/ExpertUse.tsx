import { Card } from "../../ui/Card";
import { busiest, type Experts, percent } from "./experts";

const LEVELS = [["high", "High noise"], ["low", "Low noise"]] as const;
const BRIGHTEST = 0.45;
const MOST_NUMBERS = 12;
const HEIGHT = 36;

/** Expert by noise level, the brighter the more of the tokens; the numbers are in the cells, and in words for who cannot see them. */
export function ExpertUse({ experts }: { experts: Experts | null }) {
  if (!experts) {
    return <Card title="Experts by noise level"><p className="text-sm text-mid">Which experts work at which noise level appears here with the first update of their stage.</p></Card>;
  }
  const count = Math.max(experts.low.length, experts.high.length);
  const top = Math.max(...experts.low, ...experts.high);
  return (
    <Card title="Experts by noise level" aside={<span className="num text-xs text-low">% of tokens, newest update</span>}>
      <p className="text-sm text-mid">{busiest(experts)}. Even use is {percent(1 / count)} % each, a balance of 1{experts.balance != null && `; now it is ${experts.balance.toFixed(2)}`}.</p>
      <div className="mt-3 grid grid-cols-[auto_minmax(0,1fr)] items-center gap-x-3 gap-y-1.5">
        {LEVELS.map(([side, name]) => (
          <Strip key={side} name={name} shares={experts[side]} top={top} />
        ))}
        <span aria-hidden="true" className="text-xs text-low">Expert</span>
        <div aria-hidden="true" className="num flex text-center text-xs text-low">
          {count > MOST_NUMBERS ? <><span className="flex-1 text-left">1</span><span>{count}</span></> : Array.from({ length: count }, (_one, at) => <span key={at} className="flex-1">{at + 1}</span>)}
        </div>
      </div>
    </Card>
  );
}

/** Shares of the tokens at one noise level, in per cent. */
function Strip({ name, shares, top }: { name: string; shares: number[]; top: number }) {
  const wide = 100 / shares.length;
  return (
    <>
      <span className="text-xs text-low">{name}</span>
      {shares.length === 0 ? <p className="text-xs text-low">None met yet</p> : (
        <svg role="img" aria-label={`Shares at ${name.toLowerCase()}: ${shares.map((share, at) => `expert ${at + 1} ${percent(share)} %`).join(", ")}`} width="100%" height={HEIGHT} className="block rounded-control bg-ink-950">
          {shares.map((share, at) => (
            <g key={at}>
              <rect x={`${at * wide}%`} width={`${wide}%`} height={HEIGHT} fillOpacity={(BRIGHTEST * share) / top} className="fill-signal stroke-ink-900" />
              {shares.length <= MOST_NUMBERS && <text x={`${(at + 0.5) * wide}%`} y={HEIGHT / 2} textAnchor="middle" dominantBaseline="central" className="num fill-hi text-xs">{percent(share)}</text>}
            </g>
          ))}
        </svg>
      )}
    </>
  );
}
