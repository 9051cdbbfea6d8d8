import { createLink, type LinkComponent } from "@tanstack/react-router";
import { type AnchorHTMLAttributes, forwardRef } from "react";
import { Icon, type IconName } from "./Icon";

const LOOKS = {
  primary: "bg-signal text-ink-950 font-semibold hover:brightness-108",
  plain: "bg-ink-850 text-hi border border-line/60 hover:bg-ink-800 hover:border-line",
  quiet: "text-mid hover:text-hi hover:bg-ink-800",
} as const;

interface Props extends AnchorHTMLAttributes<HTMLAnchorElement> {
  look?: keyof typeof LOOKS;
  icon?: IconName;
}

const Anchor = forwardRef<HTMLAnchorElement, Props>(function Anchor({ look = "plain", icon, children, className = "", ...rest }, ref) {
  return (
    <a
      ref={ref} {...rest}
      className={`inline-flex min-h-11 items-center justify-center gap-2 rounded-field px-4 text-sm transition-[background,filter,border-color,color] duration-150 ${LOOKS[look]} ${className}`}
    >
      {icon && <Icon name={icon} size={18} />}
      {children}
    </a>
  );
});

/** A link that looks like a button. */
export const ButtonLink: LinkComponent<typeof Anchor> = createLink(Anchor);

/** The same for a file or an address outside the page's routes. */
export const FileLink = Anchor;
