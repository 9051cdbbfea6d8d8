/**
 * In-app notices as they are made. One tab of a browser holds the stream and passes them on, since a browser allows only six
 * connections per server.
 */
import { API, type Schemas } from "./api";

export type NoticeRow = Schemas["Notification"];

const NAME = "kriptik-notices";
const AGAIN_MS = 5_000;

export function followNotices(onNotice: (notice: NoticeRow) => void): () => void {
  const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(NAME);
  if (channel) channel.onmessage = (event: MessageEvent<NoticeRow>) => onNotice(event.data);
  const ended = new AbortController();
  const lead = () => holdStream(ended.signal, (notice) => {
    channel?.postMessage(notice);
    onNotice(notice);
  });
  if (navigator.locks) navigator.locks.request(NAME, { signal: ended.signal }, lead).catch(() => undefined);
  else void lead();
  return () => {
    ended.abort();
    channel?.close();
  };
}

/** Resolves when the signal ends it. */
function holdStream(signal: AbortSignal, onNotice: (notice: NoticeRow) => void): Promise<void> {
  return new Promise((resolve) => {
    let source: EventSource | undefined;
    let last = "";
    let timer: ReturnType<typeof setTimeout> | undefined;
    const open = () => {
      source = new EventSource(`${API}/notifications/stream${last ? `?after=${last}` : ""}`);
      source.onmessage = (event: MessageEvent<string>) => {
        const notice = JSON.parse(event.data) as NoticeRow;
        last = notice.id;
        onNotice(notice);
      };
      source.onerror = () => {
        source?.close();
        timer = setTimeout(open, AGAIN_MS);
      };
    };
    open();
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      source?.close();
      resolve();
    });
  });
}
