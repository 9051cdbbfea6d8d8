/** The outline of a recording: loudest sample of equal parts, from 0 to 100. */
export function Waveform({ peaks, label }: { peaks: number[]; label: string }) {
  return (
    <svg viewBox={`0 0 ${peaks.length * 2} 100`} preserveAspectRatio="none" role="img" aria-label={label} className="mb-2 h-10 w-full text-signal">
      {peaks.map((peak, at) => <rect key={at} x={at * 2} width={1.2} y={50 - peak / 2} height={Math.max(1, peak)} fill="currentColor" />)}
    </svg>
  );
}

/** The outline that a prepared row carries; none for rows that are no recordings. */
export function peaksOf(row: Record<string, unknown>): number[] {
  return Array.isArray(row.peaks) ? row.peaks.filter((one): one is number => typeof one === "number") : [];
}
