// The screen stays on while the technician is on the way. The browser drops the wake lock when the page is hidden, so
// the lock is taken again when the page is shown.

import { useEffect } from "preact/hooks";

export function useWakeLock(wanted: boolean): void {
  useEffect(() => {
    if (!wanted || !("wakeLock" in navigator)) return;
    let [lock, gone] = [null as WakeLockSentinel | null, false];
    const take = async () => {
      if (document.hidden || gone) return;
      lock = await navigator.wakeLock.request("screen").catch(() => null);
      if (gone) void lock?.release();
    };
    void take();
    document.addEventListener("visibilitychange", take);
    return () => {
      gone = true;
      document.removeEventListener("visibilitychange", take);
      void lock?.release();
    };
  }, [wanted]);
}
