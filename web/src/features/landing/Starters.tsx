import { Icon } from "../../ui/Icon";
import { CAPABILITIES, EXAMPLES } from "./words";

export function Examples({ onPick }: { onPick: (prompt: string) => void }) {
  return (
    <section aria-labelledby="examples" className="grid gap-2">
      <h2 id="examples" className="text-sm text-low">Or start from an example</h2>
      <ul className="grid gap-2 sm:grid-cols-2 lg:grid-cols-6">
        {EXAMPLES.map((example, at) => (
          <li key={example.kind} className={at < 3 ? "lg:col-span-2" : "lg:col-span-3"}>
            <button
              type="button" onClick={() => onPick(example.prompt)}
              className="flex h-full w-full items-start gap-3 rounded-field border border-edge bg-ink-900/70 p-3 text-left text-sm text-mid transition-colors duration-150 hover:border-line hover:bg-ink-850 hover:text-hi"
            >
              <Icon name={example.icon} className="mt-0.5 text-signal" />
              <span><span className="visually-hidden">{example.kind}: </span>{example.prompt}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function Capabilities({ onPick }: { onPick: (prompt: string) => void }) {
  return (
    <section aria-labelledby="capabilities" className="grid gap-4">
      <h2 id="capabilities" className="text-xl font-semibold">What it can learn</h2>
      <ul className="grid grid-cols-1 gap-3 min-[420px]:grid-cols-2 lg:grid-cols-3">
        {CAPABILITIES.map((item) => (
          <li key={item.title}>
            <button
              type="button" onClick={() => onPick(item.start)}
              className="card flex h-full w-full items-start gap-3.5 p-4 text-left transition-colors duration-150 hover:border-line"
            >
              <span className="grid size-10 shrink-0 place-items-center rounded-control bg-ink-850 text-signal"><Icon name={item.icon} /></span>
              <span className="min-w-0">
                <span className="block font-medium">{item.title}</span>
                <span className="block text-sm text-mid">{item.line}</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
