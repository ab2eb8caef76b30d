"""The census in 42 chunks of 5000 people, and what each detector says of them beside what is true."""
