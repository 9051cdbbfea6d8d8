import { type FormEvent, type KeyboardEvent, type ReactNode, useId, useRef } from "react";
import { Button } from "../../ui/Button";
import { PLACEHOLDER } from "./words";

const MOST = 20_000;

/** The one field of the start page. Enter sends, Shift+Enter makes a new line. */
export function PromptBox({
  value, onChange, onSubmit, children, error, disabled = false,
}: { value: string; onChange: (text: string) => void; onSubmit: () => void; children?: ReactNode; error?: ReactNode; disabled?: boolean }) {
  const id = useId();
  const form = useRef<HTMLFormElement>(null);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (value.trim()) onSubmit();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    form.current?.requestSubmit();
  };
  return (
    <form ref={form} onSubmit={submit} className="glass p-2 transition-[border-color] duration-150 focus-within:border-signal/60 sm:p-3">
      <label htmlFor={id} className="visually-hidden">What you want to train</label>
      <textarea
        id={id} rows={3} value={value} maxLength={MOST} placeholder={PLACEHOLDER} aria-describedby={error ? `${id}-error` : undefined}
        onChange={(event) => onChange(event.target.value)} onKeyDown={onKeyDown}
        className="block max-h-80 min-h-28 w-full resize-none bg-transparent px-3 pt-3 pb-2 text-base leading-relaxed text-hi [field-sizing:content] placeholder:text-low focus-visible:outline-none sm:text-lg"
      />
      {error && <div id={`${id}-error`} className="px-3 pb-3">{error}</div>}
      <div className="flex flex-wrap items-center justify-between gap-2">
        <div className="flex min-w-0 flex-1 flex-wrap items-center gap-2">{children}</div>
        <Button type="submit" look="primary" icon="arrow" disabled={disabled || !value.trim()} className="w-full sm:w-auto">Make the plan</Button>
      </div>
    </form>
  );
}
