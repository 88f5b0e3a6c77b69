"""Where and when: clock, receiver sentences, ego filter, poses, geodesy, datums and the city's atlas."""
