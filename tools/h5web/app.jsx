// H5Web on a whole page: the file and the place in it stand in the address.
import { createRoot } from "react-dom/client";
import { App } from "@h5web/app";
import { H5WasmBufferProvider } from "@h5web/h5wasm";
import "@h5web/app/styles.css";

const asked = new URLSearchParams(location.search);
const buffer = await (await fetch("file.h5")).arrayBuffer();
createRoot(document.getElementById("app")).render(
  <H5WasmBufferProvider filename={asked.get("name")} buffer={buffer}>
    <App initialPath={asked.get("path")} />
  </H5WasmBufferProvider>,
);

// The page counts as loaded, and is photographed, once its text and drawings stay the same.
let shown = "";
let same = 0;
const timer = setInterval(() => {
  const text = document.body.innerText;
  const now = `${text}${document.querySelectorAll("canvas, svg").length}`;
  same = now === shown && !text.includes("Loading") && text.trim() ? same + 1 : 0;
  shown = now;
  if (same === 10) {
    clearInterval(timer);
    fetch("done", { method: "POST", body: text });
  }
}, 200);
