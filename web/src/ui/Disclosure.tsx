import type { ReactNode } from "react";
import { Icon } from "./Icon";

/** A part that is hidden until asked for. */
export function Disclosure({
  title, children, open = false, aside, plain = false,
}: { title: ReactNode; children: ReactNode; open?: boolean; aside?: ReactNode; plain?: boolean }) {
  return (
    <details open={open} className={`min-w-0 ${plain ? "" : "card"}`}>
      <summary className={`flex min-h-11 list-none items-center justify-between gap-3 ${plain ? "" : "px-4 py-3 sm:px-5"} [&::-webkit-details-marker]:hidden`}>
        <span className={`flex min-w-0 items-center gap-2 ${plain ? "text-sm text-mid [details[open]>summary_&]:text-hi" : "text-base font-semibold"}`}>
          <Icon name="chevron" size={18} className="-rotate-90 text-low transition-transform duration-150 [details[open]>summary_&]:rotate-0" />
          {title}
        </span>
        {aside}
      </summary>
      <div className={plain ? "pt-2" : "px-4 pb-4 sm:px-5 sm:pb-5"}>{children}</div>
    </details>
  );
}
