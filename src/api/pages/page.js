// Adds the local time to each time in UTC, unless it is the same.
for (const time of document.querySelectorAll("time")) {
  const date = new Date(time.dateTime);
  if (!Number.isNaN(date.getTime()) && date.getTimezoneOffset() !== 0) {
    const local = document.createElement("span");
    local.textContent = date.toLocaleString([], { dateStyle: "medium", timeStyle: "long" });
    time.after(" ", local);
  }
}
