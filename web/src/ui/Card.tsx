import type { ReactNode } from "react";

/** A solid card for data. `title` is its heading; `aside` sits at the right of it. */
export function Card({
  title, aside, children, className = "", level = 2,
}: { title?: ReactNode; aside?: ReactNode; children: ReactNode; className?: string; level?: 2 | 3 }) {
  const Heading = `h${level}` as const;
  return (
    <section className={`card min-w-0 p-4 sm:p-5 ${className}`}>
      {(title || aside) && (
        <header className="mb-3 flex flex-wrap items-center justify-between gap-x-4 gap-y-1">
          {title && <Heading className="text-base font-semibold">{title}</Heading>}
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

/** A name and its value, aligned in a definition list. */
export function Facts({ rows, columns = 1 }: { rows: [string, ReactNode][]; columns?: 1 | 2 | 3 }) {
  const grid = { 1: "", 2: "grid-cols-2", 3: "grid-cols-2 sm:grid-cols-3" }[columns];
  return (
    <dl className={`grid gap-x-6 gap-y-3 ${grid}`}>
      {rows.map(([name, value]) => (
        <div key={name} className="min-w-0">
          <dt className="text-xs text-low">{name}</dt>
          <dd className="num text-sm break-words text-hi">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
