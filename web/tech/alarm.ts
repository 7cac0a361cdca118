// The sound and the vibration of a new offer, until somebody touches the page or the offer is gone. A browser plays no
// sound before the page was touched once; the vibration and the page itself say the same.

import { useEffect } from "preact/hooks";

const BEEP_S = 0.18;
let audio: AudioContext | null = null;
addEventListener("pointerdown", () => (audio ??= new AudioContext()), { once: true });

function beep(context: AudioContext): void {
  for (const [at, pitch] of [[0, 880], [0.22, 1175]]) {
    const [tone, volume] = [context.createOscillator(), context.createGain()];
    const from = context.currentTime + at;
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.0001, from);
    volume.gain.exponentialRampToValueAtTime(0.25, from + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.0001, from + BEEP_S);
    tone.connect(volume).connect(context.destination);
    tone.start(from);
    tone.stop(from + BEEP_S);
  }
}

/** Play the sound and vibrate while `offer` is shown. A new offer starts again. */
export function useAlarm(offer: string | undefined): void {
  useEffect(() => {
    if (!offer) return;
    const ring = () => {
      if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.([200, 100, 200]);
      if (audio?.state === "running") beep(audio);
    };
    ring();
    const timer = setInterval(ring, 2_000);
    const stop = () => {
      clearInterval(timer);
      if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.(0);
    };
    addEventListener("pointerdown", stop, { once: true });
    addEventListener("keydown", stop, { once: true });
    return () => {
      stop();
      removeEventListener("pointerdown", stop);
      removeEventListener("keydown", stop);
    };
  }, [offer]);
}
