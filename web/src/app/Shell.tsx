import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { Suspense, useEffect, useRef, useState } from "react";
import { SignIn } from "../features/access/SignIn";
import { Bell } from "../features/notices/Bell";
import { signedOut } from "../lib/api";
import { Boundary } from "../ui/Boundary";
import { Icon, type IconName } from "../ui/Icon";
import { Loading } from "../ui/States";
import { Toasts } from "../ui/Toasts";

/** Pages that stand alone: they need no sign-in. */
const OPEN_PAGES = /^\/(resume\/|sign-in)/;

function useSignedOut(path: string): boolean {
  const [out, setOut] = useState(false);
  useEffect(() => {
    const note = () => setOut(true);
    signedOut.addEventListener("signed-out", note);
    return () => signedOut.removeEventListener("signed-out", note);
  }, []);
  return out && !OPEN_PAGES.test(path);
}

function useOnline(): boolean {
  const [online, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const look = () => setOnline(navigator.onLine);
    window.addEventListener("online", look);
    window.addEventListener("offline", look);
    return () => {
      window.removeEventListener("online", look);
      window.removeEventListener("offline", look);
    };
  }, []);
  return online;
}

/** After a change of page the focus goes to its beginning, as after a page load. */
function useFocusOnChange(path: string): React.RefObject<HTMLElement | null> {
  const main = useRef<HTMLElement>(null);
  const before = useRef(path);
  useEffect(() => {
    if (before.current === path) return;
    before.current = path;
    main.current?.focus({ preventScroll: true });
  }, [path]);
  return main;
}

export function Shell() {
  const { pathname } = useLocation();
  const open = OPEN_PAGES.test(pathname);
  const out = useSignedOut(pathname);
  const online = useOnline();
  const main = useFocusOnChange(pathname);
  return (
    <>
      <a href="#main" className="fixed top-2 left-2 z-50 -translate-y-20 rounded-field bg-signal px-4 py-2 text-sm font-semibold text-ink-950 focus:translate-y-0">
        Skip to the content
      </a>
      <header className="sticky top-0 z-30 border-b border-edge bg-ink-950/85 backdrop-blur-md">
        <div className="mx-auto flex h-14 max-w-6xl items-center gap-1 px-4 sm:gap-2 sm:px-6">
          <Link to="/" className="mr-auto flex min-h-11 items-center gap-2.5 font-semibold tracking-tight" aria-label="KripTik, start page">
            <img src="/mark.svg" alt="" width={26} height={26} />
            <span>KripTik</span>
          </Link>
          {!open && !out && (
            <nav aria-label="Main" className="flex items-center">
              <NavLink to="/" icon="spark" word="Train" current={pathname === "/"} />
              <NavLink to="/jobs" icon="list" word="Runs" current={pathname.startsWith("/jobs")} />
              <NavLink to="/settings" icon="config" word="Settings" current={pathname === "/settings"} />
              <Bell />
            </nav>
          )}
        </div>
      </header>
      {!online && (
        <p role="status" className="border-b border-hold/40 bg-ink-900 px-4 py-2 text-center text-sm text-hold">
          This computer is offline. Runs go on without this page; what you see is as last heard.
        </p>
      )}
      <main ref={main} id="main" tabIndex={-1} className="mx-auto w-full max-w-6xl px-4 pt-6 pb-24 outline-none sm:px-6 sm:pt-8">
        {out ? (
          <SignIn />
        ) : (
          <Boundary key={pathname} what="This page">
            <Suspense fallback={<Loading label="Loading the page" />}>
              <Outlet />
            </Suspense>
          </Boundary>
        )}
      </main>
      <Toasts />
    </>
  );
}

function NavLink({ to, icon, word, current }: { to: "/" | "/jobs" | "/settings"; icon: IconName; word: string; current: boolean }) {
  return (
    <Link
      to={to} aria-current={current ? "page" : undefined} aria-label={word}
      className={`flex min-h-11 min-w-11 items-center justify-center gap-2 rounded-field px-2.5 text-sm transition-colors duration-150 hover:bg-ink-800 hover:text-hi sm:px-3 ${current ? "text-hi" : "text-mid"}`}
    >
      <Icon name={icon} size={18} className={current ? "text-signal" : ""} />
      <span className="hidden sm:inline">{word}</span>
    </Link>
  );
}
