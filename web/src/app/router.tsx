import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { Landing } from "./pages/Landing";
import { NotFound } from "./pages/NotFound";
import { Shell } from "./Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });
const text = (value: unknown): string | undefined => (typeof value === "string" && value ? value : undefined);

const routes = [
  createRoute({
    getParentRoute: () => root, path: "/", component: Landing,
    validateSearch: (search): { prompt?: string; data?: string } => {
      const [prompt, data] = [text(search.prompt), text(search.data)];
      return { ...(prompt && { prompt }), ...(data && { data }) };
    },
  }),
  createRoute({ getParentRoute: () => root, path: "/plans/$planId", component: lazyRouteComponent(() => import("./pages/PlanPage"), "PlanPage") }),
  createRoute({ getParentRoute: () => root, path: "/jobs", component: lazyRouteComponent(() => import("./pages/JobsPage"), "JobsPage") }),
  createRoute({
    getParentRoute: () => root, path: "/jobs/$jobId", component: lazyRouteComponent(() => import("./pages/RunPage"), "RunPage"),
    validateSearch: (search): { panel?: string } => {
      const panel = text(search.panel);
      return panel ? { panel } : {};
    },
  }),
  createRoute({ getParentRoute: () => root, path: "/jobs/$jobId/test", component: lazyRouteComponent(() => import("./pages/TestPage"), "TestPage") }),
  createRoute({
    getParentRoute: () => root, path: "/resume/$jobId", component: lazyRouteComponent(() => import("./pages/ResumePage"), "ResumePage"),
    validateSearch: (search): { token?: string } => {
      const token = text(search.token);
      return token ? { token } : {};
    },
  }),
  createRoute({ getParentRoute: () => root, path: "/label/$setId", component: lazyRouteComponent(() => import("./pages/LabelPage"), "LabelPage") }),
  createRoute({ getParentRoute: () => root, path: "/data/$datasetId", component: lazyRouteComponent(() => import("./pages/DataPage"), "DataPage") }),
  createRoute({ getParentRoute: () => root, path: "/settings", component: lazyRouteComponent(() => import("./pages/SettingsPage"), "SettingsPage") }),
  createRoute({
    getParentRoute: () => root, path: "/sign-in", component: lazyRouteComponent(() => import("./pages/SignInPage"), "SignInPage"),
    validateSearch: (search): { problem?: string } => {
      const problem = text(search.problem);
      return problem ? { problem } : {};
    },
  }),
] as const;

export const router = createRouter({ routeTree: root.addChildren(routes), defaultPreload: "intent", scrollRestoration: true });

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
