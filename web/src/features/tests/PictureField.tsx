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
      <label className="inline-flex min-h-11 w-fit cursor-pointer items-center rounded-field border border-line px-3 text-sm text-info has-[:focus-visible]:outline-2 has-[:focus-visible]:outline-offset-2 has-[:focus-visible]:outline-signal">
        {value ? "Choose another picture to ask about" : "Choose a picture to ask about"}
        <input
          type="file" accept={KINDS} className="sr-only"
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
