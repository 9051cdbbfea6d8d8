import { type CSSProperties, type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, type TextareaHTMLAttributes, useId } from "react";

const BOX = "w-full rounded-field border border-line bg-ink-950 px-3 text-sm text-hi placeholder:text-low focus-visible:outline-offset-0 disabled:border-line/40 disabled:text-low";

interface Labelled {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
  unit?: string;
  /** For a screen reader alone, where the place of the field tells the others. */
  labelHidden?: boolean;
}

function Wrap({ id, label, labelHidden = false, hint, error, children }: Labelled & { id: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <label htmlFor={id} className={labelHidden ? "visually-hidden" : "mb-1 block text-sm text-mid"}>{label}</label>
      {children}
      {hint && <p id={`${id}-hint`} className="mt-1 text-xs text-low">{hint}</p>}
      {error && <p id={`${id}-error`} className="mt-1 text-xs text-fault">{error}</p>}
    </div>
  );
}

const described = (id: string, hint: unknown, error: unknown) =>
  [hint ? `${id}-hint` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ") || undefined;

export function TextField({ label, hint, error, unit, className = "", ...rest }: Labelled & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <Wrap id={id} label={label} hint={hint} error={error}>
      <div className="relative">
        <input
          id={id} aria-invalid={Boolean(error) || undefined} aria-describedby={described(id, hint, error)} {...rest}
          className={`${BOX} h-11 ${unit ? "pr-10" : ""} ${rest.type === "number" ? "num" : ""} ${className}`}
        />
        {unit && <span aria-hidden="true" className="absolute top-1/2 right-3 -translate-y-1/2 text-sm text-low">{unit}</span>}
      </div>
    </Wrap>
  );
}

export function TextArea({ label, labelHidden = false, hint, error, ...rest }: Labelled & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId();
  return (
    <Wrap id={id} label={label} labelHidden={labelHidden} hint={hint} error={error}>
      <textarea
        id={id} aria-invalid={Boolean(error) || undefined} aria-describedby={described(id, hint, error)} rows={3} {...rest}
        className={`${BOX} block resize-y py-2.5 leading-relaxed`}
      />
    </Wrap>
  );
}

export function Select({ label, hint, children, ...rest }: Labelled & SelectHTMLAttributes<HTMLSelectElement>) {
  const id = useId();
  return (
    <Wrap id={id} label={label} hint={hint}>
      <select id={id} {...rest} className={`${BOX} pick h-11`}>{children}</select>
    </Wrap>
  );
}

export function Slider({
  label, hint, value, min, max, step, show, onChange, disabled = false,
}: {
  label: string; hint?: ReactNode; value: number; min: number; max: number; step: number; show: (value: number) => string;
  onChange: (value: number) => void; disabled?: boolean;
}) {
  const id = useId();
  return (
    <div className="min-w-0">
      <div className="mb-1 flex items-baseline justify-between gap-3">
        <label htmlFor={id} className="text-sm text-mid">{label}</label>
        <output htmlFor={id} className="num text-lg font-semibold">{show(value)}</output>
      </div>
      <input
        id={id} type="range" min={min} max={max} step={step} value={value} disabled={disabled} aria-valuetext={show(value)}
        aria-describedby={hint ? `${id}-hint` : undefined} onChange={(event) => onChange(event.target.valueAsNumber)}
        className="slide" style={{ "--at": `${((value - min) / Math.max(max - min, 1e-9)) * 100}%` } as CSSProperties}
      />
      <div aria-hidden="true" className="num flex justify-between text-xs text-low"><span>{show(min)}</span><span>{show(max)}</span></div>
      {hint && <p id={`${id}-hint`} className="mt-1 text-xs text-low">{hint}</p>}
    </div>
  );
}

export function Check({
  label, checked, onChange, disabled = false, hint,
}: { label: ReactNode; checked: boolean; onChange: (on: boolean) => void; disabled?: boolean; hint?: ReactNode }) {
  const id = useId();
  return (
    <div className="flex min-h-7 items-start gap-2.5">
      <input
        id={id} type="checkbox" checked={checked} disabled={disabled} aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event) => onChange(event.target.checked)} className="tick"
      />
      <div className="min-w-0 text-sm">
        <label htmlFor={id} className={disabled ? "text-low" : "text-hi"}>{label}</label>
        {hint && <p id={`${id}-hint`} className="text-xs text-low">{hint}</p>}
      </div>
    </div>
  );
}
