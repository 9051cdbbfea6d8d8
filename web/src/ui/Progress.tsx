/** Determinate progress: a bar and a ring. Nothing here loops. */
export function Bar({
  value, label, tone = "signal", marks = [],
}: { value: number; label: string; tone?: "signal" | "hold" | "fault" | "info"; marks?: { at: number; name: string }[] }) {
  const fill = { signal: "bg-signal", hold: "bg-hold", fault: "bg-fault", info: "bg-info" }[tone];
  const percent = Math.max(0, Math.min(100, value * 100));
  return (
    <div role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(percent)}
      className="relative h-2 w-full rounded-full bg-ink-800">
      <div className={`h-full origin-left rounded-full transition-transform duration-240 ${fill}`}
        style={{ width: "100%", transform: `scaleX(${percent / 100})` }} />
      {marks.map((mark) => (
        <span key={mark.name} title={mark.name} className="absolute -top-1 h-4 w-0.5 rounded-full bg-hi" style={{ left: `${mark.at * 100}%` }} />
      ))}
    </div>
  );
}

export function Ring({ value, label, size = 132, children }: { value: number; label: string; size?: number; children: React.ReactNode }) {
  const radius = size / 2 - 8;
  const around = 2 * Math.PI * radius;
  const share = Math.max(0, Math.min(1, value));
  return (
    <div role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share * 100)}
      className="relative grid shrink-0 place-items-center" style={{ width: size, height: size }}>
      <svg aria-hidden="true" width={size} height={size} className="-rotate-90">
        <circle cx={size / 2} cy={size / 2} r={radius} fill="none" strokeWidth="8" className="stroke-ink-800" />
        <circle cx={size / 2} cy={size / 2} r={radius} fill="none" strokeWidth="8" strokeLinecap="round"
          strokeDasharray={around} strokeDashoffset={around * (1 - share)}
          className="stroke-signal transition-[stroke-dashoffset] duration-240" />
      </svg>
      <div className="absolute inset-0 grid place-content-center text-center">{children}</div>
    </div>
  );
}
