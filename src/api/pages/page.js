// Adds the local time to each time in UTC.
for (const time of document.querySelectorAll("time")) {
  const date = new Date(time.dateTime);
  if (!Number.isNaN(date.getTime())) {
    time.after(` (${date.toLocaleString()} here)`);
  }
}
