/** Datasets: uploads with progress, built-in samples, the list. */
import { API, ApiError, csrfToken, type Schemas, toProblem } from "../../lib/api";

export type Dataset = Schemas["Dataset"];

/** Sends a file; `onShare` hears how much is sent, 0 to 1. The server checks it before anything else happens. */
export function upload(file: File, onShare: (share: number) => void, signal: AbortSignal): Promise<Dataset> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${API}/data`);
    request.setRequestHeader("x-csrf-token", csrfToken());
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onload = () => {
      const body: unknown = parse(request.responseText);
      if (request.status < 300) resolve(body as Dataset);
      else reject(new ApiError(toProblem(body, request.status)));
    };
    request.onerror = () => reject(new ApiError(toProblem({ code: "offline", detail: "The file could not be sent.", nextStep: "Check the connection and try again." })));
    request.onabort = () => reject(new ApiError(toProblem({ code: "cancelled", detail: "The upload was cancelled." })));
    signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", file, file.name);
    request.send(form);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
