import { useState } from "react";
import { bytes } from "../../lib/format";
import { Button } from "../../ui/Button";

const KINDS = "image/png,image/jpeg,image/webp";
const MOST = 8_000_000;

/** A picture that the question is about, as a data URL; empty for none. */
export function PictureField({ value, onChange }: { value: string; onChange: (picture: string) => void }) {
  const [fault, setFault] = useState("");
  const read = (file: File) => {
    if (file.size > MOST) {
      setFault(`${file.name} has ${bytes(file.size)}. Choose a picture of at most ${bytes(MOST)}.`);
      return;
    }
    const reader = new FileReader();
    reader.onload = () => {
      setFault("");
      onChange(String(reader.result));
    };
    reader.onerror = () => setFault(`${file.name} cannot be read. Choose another picture.`);
    reader.readAsDataURL(file);
  };
  return (
    <div className="grid gap-2">
      <label className="grid gap-1 text-sm text-mid">
        Picture to ask about
        <input
          type="file" accept={KINDS} className="min-h-11 w-full rounded-field border border-line bg-ink-950 px-3 py-2 text-sm text-hi file:mr-3 file:border-0 file:bg-transparent file:text-info"
          onChange={(event) => {
            const file = event.target.files?.[0];
            event.target.value = "";
            if (file) read(file);
          }}
        />
      </label>
      {fault && <p role="alert" className="text-xs text-fault">{fault}</p>}
      {value && (
        <div className="flex items-end gap-3">
          <img src={value} alt="The picture you ask about" className="max-h-40 rounded-control object-contain" />
          <Button look="quiet" onClick={() => onChange("")}>Take it away</Button>
        </div>
      )}
    </div>
  );
}
