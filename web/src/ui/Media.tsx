/** A file that a run made or learns from: a picture, or a sound or a video with its controls. */
export function Media({ src, label, look = "whole" }: { src: string; label: string; look?: "whole" | "row" | "small" }) {
  if (src.endsWith(".wav")) {
    return <audio controls preload="none" src={src} aria-label={label} className={look === "small" ? "h-9 w-44" : look === "row" ? "mb-3 w-full" : "w-full"} />;
  }
  if (src.endsWith(".mp4")) {
    return <video controls loop muted playsInline preload="metadata" src={src} aria-label={label} className={{ whole: "w-full rounded-control", row: "mb-3 max-h-48 rounded-control", small: "w-44 rounded-control" }[look]} />;
  }
  const size = { whole: "w-full rounded-control object-contain [image-rendering:auto]", row: "mb-3 max-h-48 rounded-control bg-ink-950 object-contain", small: "size-20 rounded-control bg-ink-950 object-contain" }[look];
  return <img src={src} alt={label} loading={look === "small" ? "lazy" : "eager"} className={size} />;
}
