const COUNT = new Intl.NumberFormat("en");

/** A number with its thousands apart. (toLocaleString makes a formatter with every call.) */
export function formatCount(value: number): string {
  return COUNT.format(value);
}
