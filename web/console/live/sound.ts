// A short tone for what is new in the list of needs, if the user wants one.

import { signal } from "@preact/signals";
import { readStored, store } from "../../shared/platform.ts";

export const soundIsOn = signal(readStored("console.sound") === "on");

let known: Set<string> | null = null;
let audio: AudioContext | undefined;

export function toggleSound(): void {
  soundIsOn.value = !soundIsOn.value;
  store("console.sound", soundIsOn.value ? "on" : null);
  if (soundIsOn.value) play();
}

/** Sound once if a name is new. The first list makes no sound, because the user sees it when the page opens. */
export function ring(names: string[]): void {
  const isNew = known !== null && names.some((name) => !known!.has(name));
  known = new Set(names);
  if (isNew && soundIsOn.value) play();
}

function play(): void {
  audio ??= new AudioContext();
  const [tone, volume] = [audio.createOscillator(), audio.createGain()];
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.12, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.35);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.35);
}
