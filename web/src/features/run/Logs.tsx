import { useEffect, useRef, useState } from "react";
import { Button } from "../../ui/Button";
import { Disclosure } from "../../ui/Disclosure";
import type { LogLine } from "./reducer";

const LEVELS = ["debug", "info", "warning", "error"] as const;
const TONES: Record<string, string> = { debug: "text-low", info: "text-mid", warning: "text-hold", error: "text-fault" };

/** The log, newest at the end; it follows unless somebody scrolled away. */
export function Logs({ lines, open = false }: { lines: LogLine[]; open?: boolean }) {
  const [level, setLevel] = useState<(typeof LEVELS)[number]>("info");
  const [text, setText] = useState("");
  const box = useRef<HTMLDivElement>(null);
  const follow = useRef(true);
  const least = LEVELS.indexOf(level);
  const shown = lines.filter((line) => LEVELS.indexOf(line.severity as never) >= least && (!text || line.message.toLowerCase().includes(text.toLowerCase())));
  useEffect(() => {
    if (follow.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length]);
  return (
    <Disclosure title="Log" open={open} aside={<span className="num text-xs text-low">{lines.length === 1 ? "1 line" : `${lines.length} lines`}</span>}>
      <div className="mb-3 flex flex-wrap items-center gap-2">
        <div role="group" aria-label="Least severity shown" className="flex flex-wrap gap-1">
          {LEVELS.map((name) => (
            <Button key={name} look={name === level ? "plain" : "quiet"} aria-pressed={name === level} className="min-h-9 px-3" onClick={() => setLevel(name)}>{name}</Button>
          ))}
        </div>
        <input aria-label="Find in the log" placeholder="Find" value={text} onChange={(event) => setText(event.target.value)} className="h-9 min-w-0 flex-1 rounded-field border border-line bg-ink-950 px-3 text-sm placeholder:text-low" />
      </div>
      <div
        ref={box} tabIndex={0} role="log" aria-live="off" aria-label="Log lines" className="h-64 overflow-auto rounded-control bg-ink-950 p-3"
        onScroll={(event) => {
          const node = event.currentTarget;
          follow.current = node.scrollHeight - node.scrollTop - node.clientHeight < 24;
        }}
      >
        {shown.length === 0 && <p className="text-sm text-low">Nothing at this severity{text && " with these words"}.</p>}
        <ul className="num grid gap-0.5 text-xs leading-5">
          {shown.map((line) => (
            <li key={line.id} className="grid grid-cols-[auto_auto_1fr] gap-x-3">
              <time dateTime={line.at} className="text-low">{line.at.slice(11, 19)}</time>
              <span className={`w-14 ${TONES[line.severity] ?? "text-mid"}`}>{line.severity}</span>
              <span className="min-w-0 break-words text-hi">{line.message}</span>
            </li>
          ))}
        </ul>
      </div>
    </Disclosure>
  );
}
