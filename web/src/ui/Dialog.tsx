import { type ReactNode, useEffect, useId, useRef } from "react";
import { Button } from "./Button";

/**
 * The platform's own modal dialog: focus moves in and stays, the rest of the page is inert, focus returns at the end.
 * Without `onClose` it cannot be dismissed.
 */
export function Dialog({
  title, children, onClose, full = false,
}: { title: string; children: ReactNode; onClose?: () => void; full?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    // Focus begins at the top of a full page, so that it is read from its beginning.
    if (full && dialog) {
      dialog.focus();
      dialog.scrollTop = 0;
    }
    return () => dialog?.close();
  }, [full]);
  return (
    <dialog
      ref={ref} aria-labelledby={heading} tabIndex={full ? -1 : undefined}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape" && !onClose) event.preventDefault();
      }}
      className={`text-hi backdrop:bg-ink-950/80 ${
        full
          ? "m-0 h-dvh max-h-none w-screen max-w-none overflow-y-auto bg-ink-950 outline-none"
          : "glass-over m-auto w-[min(32rem,calc(100vw-2rem))] p-5 sm:p-6"
      }`}
    >
      {full ? (
        <h2 id={heading} className="visually-hidden">{title}</h2>
      ) : (
        <h2 id={heading} className="mb-3 text-xl font-semibold">{title}</h2>
      )}
      {children}
    </dialog>
  );
}

/** Asks before something that cannot be taken back. */
export function Confirm({
  title, children, action, onYes, onNo, busy = false, look = "danger",
}: {
  title: string; children: ReactNode; action: string; onYes: () => void; onNo: () => void; busy?: boolean; look?: "danger" | "primary" | "hold";
}) {
  return (
    <Dialog title={title} onClose={onNo}>
      <div className="space-y-2 text-sm text-mid">{children}</div>
      <div className="mt-5 flex flex-wrap justify-end gap-3">
        <Button look="quiet" onClick={onNo}>Cancel</Button>
        <Button look={look} busy={busy} onClick={onYes}>{action}</Button>
      </div>
    </Dialog>
  );
}
