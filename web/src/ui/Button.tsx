import type { ButtonHTMLAttributes, ReactNode } from "react";
import { Icon, type IconName } from "./Icon";

type Look = "primary" | "hold" | "plain" | "quiet" | "link" | "danger" | "info";

const LOOKS: Record<Look, string> = {
  primary: "bg-signal text-ink-950 hover:brightness-108 font-semibold",
  hold: "bg-hold text-ink-950 hover:brightness-108 font-semibold",
  info: "bg-info text-ink-950 hover:brightness-108 font-semibold",
  plain: "bg-ink-850 text-hi border border-line/60 hover:bg-ink-800 hover:border-line",
  quiet: "text-mid hover:text-hi hover:bg-ink-800",
  link: "text-info hover:bg-ink-800",
  danger: "text-fault border border-fault/50 hover:bg-fault hover:text-ink-950",
};

export function Button({
  look = "plain", icon, busy = false, children, className = "", ...rest
}: { look?: Look; icon?: IconName; busy?: boolean; children: ReactNode } & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button
      type="button"
      aria-busy={busy || undefined}
      {...rest}
      disabled={rest.disabled || busy}
      className={`inline-flex min-h-11 items-center justify-center gap-2 rounded-field px-4 text-sm transition-[background,filter,border-color,color] duration-150 disabled:border-transparent disabled:bg-ink-800 disabled:text-low ${LOOKS[look]} ${className}`}
    >
      {icon && <Icon name={icon} size={18} />}
      {children}
    </button>
  );
}

/** A button that shows only an icon; the label is what a screen reader says and the tooltip shows. */
export function IconButton({
  icon, label, className = "", ...rest
}: { icon: IconName; label: string } & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button
      type="button" aria-label={label} title={label} {...rest}
      className={`inline-flex size-11 items-center justify-center rounded-field text-mid transition-colors duration-150 hover:bg-ink-800 hover:text-hi disabled:bg-transparent disabled:text-line/60 ${className}`}
    >
      <Icon name={icon} />
    </button>
  );
}
