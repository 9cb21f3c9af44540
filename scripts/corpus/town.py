"""Situations at a counter: restaurant, library, bank, post office, garage, shop, phone plan."""

RESTAURANT = """
name: restaurant_complaint
register: service
names: none, formal
decider: B
topics: restaurant complaint | bad food | complain to a waiter | at the restaurant
dish: the fish soup | the steak | the mushroom pasta | the chicken curry | the vegetable pie | the tomato salad
fault: is cold | is much too salty | has a hair in it | is burned | tastes of soap
table: number 2 12
wait: integer 25 75 5
total: dollars 24 118 2
choice: have it cooked again = the cook has gone home | a second try takes forty minutes
choice: order the lasagna = the lasagna is sold out | the lasagna has nuts in it
choice: take a free dessert = the desserts are too sweet | all the desserts contain milk
choice: leave without eating = it is raining hard outside | everything else in town is closed
choice: accept a voucher = the voucher is only good for lunch | the voucher ends this week
choice: pay half the price = the half price does not include drinks | the computer cannot split the price
@open
B: Excuse me, {dish} {fault}! [And I waited|I've been waiting for it for] {wait} minutes.
A: [I'm terribly sorry|I apologize]<B>. [Which table are you at|What's your table]?
B: Table {table}.
--
A: [Is everything all right|How do you like your meal] at table {table}<B>?
B: [No|Not at all]. I waited {wait} minutes, and now {dish} {fault}.
--
B: [Waiter|Hello], [could you come here|one moment], please? {dish} [that you brought|on my plate] {fault}.
A: [Oh no|That should not happen]<B>. Table {table}, right?
B: Yes, and I waited {wait} minutes for it.
@total*
B: What [is on my bill|do I owe you] so far?
A: {total}[, with the drinks|].
--
A: [The bill comes to|Your bill is] {total}.
B: {total}? [At this quality|For that]?
@birthday*?
B: [And it's my birthday|We even dressed up].
A: [I'm really sorry|How unpleasant].
--
A: [The gentleman over there had the same|Others liked it a lot].
B: [I can't believe that|Each to their own].
@setting
{B} at table {table} complains to {A} that {dish} {fault} after a wait of {wait} minutes.
{B} waited {wait} minutes at table {table} and tells the waiter, {A}, that {dish} {fault}.
{A} apologizes to {B} at table {table} because {dish} {fault} and took {wait} minutes.
@detail
The bill is {total}. || {B}'s bill comes to {total}.
@ask
Who complains? = {B}
At which table is the guest? = table {table}
What is wrong with the food? = {dish} {fault}
"""

LIBRARY = """
name: library
register: service
names: none, first
decider: B
topics: borrow books | at the library | library loan | library card
subject: whales | the Roman Empire | bread baking | space travel | knitting | wild mushrooms
books: number 2 9
fine: integer 15 95 5
weeks: number 2 6
shelf: integer 11 99 4
choice: borrow the big atlas = the big atlas must stay in the reading room | the big atlas has torn pages
choice: take the audiobook = the audiobook has fourteen discs | the audiobook is in Danish
choice: order it from another town = an order takes a month | the other library has lost its copy
choice: read it here = the reading room closes in ten minutes | the reading room is cold and loud
choice: copy a few pages = the copier is out of paper | copies are forbidden by law
choice: use the e-book = the e-book needs a special reader | all licenses of the e-book are in use
@open
B: [Hi|Good morning], I'm looking for [something|books] about {subject}.
A: [Have a look at|You'll find that on] shelf {shelf}<B>.
B: [Thanks|Great]. I'd like to [borrow|take] {books} of them.
--
A: [Can I help you|What are you looking for]<B>?
B: [Yes|Please], {books} books about {subject}.
A: [They're on|Try] shelf {shelf}.
--
B: [Where do I find|Where are] the books on {subject}? I need {books} for [school|my talk].
A: On shelf {shelf}<B>, [behind the stairs|next to the window].
@fine*
A: [There's a fine of|You still owe us] {fine} cents.
B: {fine} cents? [Oh, sorry, here|I forgot about that].
--
B: [Do I owe you anything?|I think I brought something back late.]
A: Yes, {fine} cents.
@card*?
A: [May I see your card|Do you have your card]?
B: [It must be somewhere|Here it is].
@settle
A: [You can keep everything for|It's all due in] {weeks} weeks.
B: {weeks} weeks, [that's enough|perfect].
@setting
{B} asks {A} at the library for {books} books about {subject} on shelf {shelf}.
{A}, a librarian, tells {B} that books about {subject} are on shelf {shelf}. {B} needs {books}.
{B} wants {books} library books about {subject}. {A} sends {B} to shelf {shelf}.
@detail
{B} has to pay a fine of {fine} cents. || There is a fine of {fine} cents.
The loan lasts {weeks} weeks. || Everything is due in {weeks} weeks.
@ask
What are the books about? = {subject}
On which shelf are they? = shelf {shelf}
Who works at the library? = {A}
"""

BANK = """
name: bank
register: service
names: none, formal
decider: B
topics: bank business | talk to a banker | money matters | open an account
aim: a new kitchen | a boat | the children's school | a small shop | a trip around the world | a used car
sum: dollars 2000 9500 500
rate: number 2 7
day: weekday
paper: passport | rental contract | pay slip | birth certificate | tax form
choice: open a savings account = the money in savings is locked for five years | savings pay almost nothing this year
choice: ask for a loan = a loan needs two guarantors | the loan must be paid back in a year
choice: buy shares = shares fell by half last month | shares come with high fees
choice: get a credit card = the card has a limit of fifty dollars | the card costs a yearly fee
choice: put the money in gold = gold must be kept in a rented box | the price of gold is at its peak
@open
A: [Good morning|Please have a seat]<B>. [What can I do for you|How may I help]?
B: It's about {sum}. [I need it|The money is] for {aim}.
--
B: [Hello|Good day], I need [some advice|your help]. I'm thinking of {aim}.
A: [A good idea|Very nice]<B>. How much money are we talking about?
B: {sum}[|, more or less].
--
A: [You wanted to talk about|So, you're planning] {aim}<B>?
B: [Exactly|Right], and it's about {sum}.
@rate*
B: What's the interest?
A: {rate} percent[|, this month].
--
A: The interest is {rate} percent [at the moment|right now].
B: {rate}? [Other banks offer less|All right].
@settle
A: Please [bring|come back with] your {paper} on {day}.
B: [My {paper}, sure|I will].
--
B: [What papers do you need|Do I have to bring anything]?
A: Your {paper}. [Can you bring it|Shall we say] on {day}?
B: [Yes|Of course].
@queue*?
B: [The machine outside ate my coins|There's a long line outside].
A: [We'll look into it|I'm sorry about that].
@setting
{B} talks to {A} at a bank about {sum} for {aim}.
{A} advises {B}, who comes to the bank about {sum} for {aim}.
For {aim}, {B} needs advice about {sum} from a banker, {A}.
@detail
The interest is {rate} percent. || {A} says the interest is {rate} percent.
{B} has to bring the {paper} on {day}. || On {day}, {B} will come with the {paper}.
@ask
What is the money for? = {aim}
What must the customer bring? = the {paper}
Who works at the bank? = {A}
"""

POST = """
name: post_office
register: service
names: none, none
decider: B
topics: send a parcel | at the post office | mail a package | ship a gift
inside: a wool blanket | three novels | a toy train | a bottle of honey | a vase | hand-made soap
country: Brazil | Norway | India | Greece | Mexico | New Zealand
weight: number 2 12
price: dollars 11 67 2
person: aunt | cousin | nephew | old teacher | pen pal | godmother
choice: send it by air = air mail must be packed in metal boxes | air mail is three times the price
choice: send it by ship = the ship takes ten weeks | no ship leaves before spring
choice: pay for insurance = insurance does not cover gifts | the insurance form is ten pages long
choice: use an express courier = the courier does not deliver to villages | the courier collects only in the morning
choice: split it into two packages = two packages need two customs forms | small packages get lost more often
@open
B: [Hello|Good morning], I want to send this [to|off to] {country}. It's for my {person}.
A: [What's inside|What is in it]?
B: It's {inside}.
--
A: [Next, please!|Who's next?]
B: [That's me|Hi]. [A present for|This is for] my {person} in {country}: {inside}.
--
B: [How do I send|What's the best way to send] {inside} to {country}?
A: [For business or private|Who is it for]?
B: [It's private, for|For] my {person}.
@weight*
A: It weighs {weight} pounds.
B: [That much|Only {weight}]? [Okay|The box is heavy].
--
A: [Put it on the scale, please|Let me weigh it]. {weight} pounds.
B: {weight}? [At home it was less|I see].
@price*
B: [What's the postage|How much is the postage]?
A: {price}.
--
A: [That makes|It's] {price}[, stamps included|].
B: [Here you are.|Can I pay by phone?]
@stamps*?
B: [Do you have the stamps with the birds|Are there any nice stamps]?
A: [They are sold out|Only flowers this time].
@setting
{B} sends {inside} to {B}'s {person} in {country}. {A} works at the post office.
At the post office, {B} asks {A} how to send {inside} to a {person} in {country}.
{A} helps {B} to mail {inside} to {country}, a present for {B}'s {person}.
@detail
It weighs {weight} pounds and costs {price}. || The postage is {price} for {weight} pounds.
@ask
What is in the parcel? = {inside}
Where does the parcel go? = to {country}
Who sends a parcel? = {B}
"""

CAR_REPAIR = """
name: car_repair
register: service
names: none, formal
decider: B
topics: car repair | at the garage | car trouble | a broken car
trouble: the brakes squeak | the engine smokes | the lights flicker | a back door won't open | it pulls to the left | it doesn't start in the cold
car: old station wagon | green van | white sports car | family car | delivery truck
miles: integer 40 190 10
price: dollars 140 890 25
done: weekday
choice: put in a used part = used parts come without a guarantee | the used part is rusty
choice: order an original part = original parts take five weeks | the original part costs more than the car
choice: sell the car = nobody buys a car in this state | the papers for a sale are lost
choice: repair only the worst = half a repair fails the inspection | the worst part depends on all the others
choice: borrow a car meanwhile = all the cars for customers are out | the insurance does not cover a borrowed car
@open
B: [Hello|Good morning], I've got a problem with my {car}: {trouble}.
A: [Let me have a look|I'll check it]<B>. How far has it gone?
B: {miles} thousand miles.
--
A: What's wrong with the {car}<B>?
B: Well, {trouble}. [It has done|It's done] {miles} thousand miles, you know.
--
B: Can you [help me|take a look]? {trouble}, [ever since last week|again].
A: [The|That] {car} outside, is it yours<B>? How many miles?
B: {miles} thousand.
@price*
B: [How much will I pay|And the cost]?
A: [Roughly|About] {price}.
--
A: [I'd say|It comes to] {price}, work included.
B: [My cousin would do it for a pizza|That's a lot of money]. [But okay|Fine].
@winter*?
A: [You should change the tires soon|The tires look fine].
B: [Next time|Okay].
@settle
A: [It's done|You can drive it again] on {done}.
B: [On {done}, good|Thank goodness].
--
B: When [can I have it back|will it be done]?
A: On {done}[, in the evening|].
@setting
{B} brings a {car} with {miles} thousand miles to {A} because {trouble}.
{A} checks the {car} of {B}. After {miles} thousand miles, {trouble}.
{B} has trouble with a {car}, which has done {miles} thousand miles: {trouble}. {A} will repair it.
@detail
The work costs {price}. || {B} has to pay about {price}.
It is done on {done}. || {B} gets the car back on {done}.
@ask
What is wrong with the car? = {trouble}
How much does the repair cost? = {price}
Whose car is it? = {B}'s
"""

RETURN = """
name: return_clothes
register: service
names: none, none
decider: B
topics: return clothes | exchange a purchase | at the clothes shop | a refund
item: coat | sweater | raincoat | silk shirt | wool dress | leather jacket
fault: a button is missing | the zipper is stuck | it lost its color | it is too tight | there is a hole in it
price: dollars 28 190 6
bought: weekday
manager: person
choice: exchange it for a bigger size = the bigger size is sold out | the bigger size is only there in yellow
choice: get the money back = the receipt is missing | sale items cannot be paid back
choice: have it repaired = the tailor is sick | a repair would show
choice: take a gift card = the gift card does not work online | the gift card expires in a month
choice: keep it with a discount = the discount is just two dollars | the discount needs a member card
@open
B: I bought this {item} on {bought}, [and|but] {fault}.
A: [I'm sorry|Oh, that's annoying]. What did you pay?
B: {price}.
--
A: [Hello, can I help you|What can I do for you]?
B: It's [about|because of] this {item}. {fault}, [and|although] I paid {price} on {bought}!
--
B: [Excuse me|Hi], there's a problem. {fault}, [look, right here.|do you see it?]
A: [You're right|Yes, I see]. When did you buy the {item}?
B: On {bought}, for {price}.
@manager*
A: [I have to ask|Let me call] {manager}, [my manager|the manager].
B: [Go ahead|Please do].
--
B: [Who is in charge here|Is your boss here]?
A: [That would be|The manager is] {manager}, [who agrees with us|who is just over there].
@worn*?
A: [Did you wear it|Have you washed it]?
B: [Not even once|Of course not].
@setting
{B} returns a {item} bought on {bought} for {price} because {fault}.
{B} tells {A} that {fault}. The {item} cost {price} on {bought}.
{A} deals with a {item} that {B} bought for {price} on {bought}. {B} says that {fault}.
@detail
The manager is {manager}. || {A} mentions the manager, {manager}.
@ask
What is returned? = a {item}
What is wrong with it? = {fault}
Who is the manager? = {manager}
"""

PHONE_PLAN = """
name: phone_plan
register: service
names: none, formal
decider: B
topics: phone contract | a mobile phone plan | customer hotline | change a phone plan
bill: dollars 31 97 3
trouble: the bill was too high | the signal is weak at home | the contract ends soon | the calls abroad are expensive
months: number 3 12
code: integer 2210 9890 37
choice: take the family plan = the family plan needs four people | the family plan has slow internet
choice: pay per call = one call costs two dollars | pay per call works only in the city
choice: sign the student contract = students must be under twenty-five | the student contract has no voice calls
choice: buy a bigger data package = the bigger package ends after one week | the bigger package is for new phones only
choice: cancel everything = a fee of ninety dollars is due for that | the old number would be lost
@open
A: [Customer service, hello|Phone service]. [What is your customer number|Your number, please]<B>?
B: {code}. I'm calling because {trouble}.
--
B: [Hello|Hi], {trouble}, [so I want to change my plan|so I need another plan].
A: [I can help you with that|Let me see]<B>. [And your customer number|What's your customer number]?
B: {code}.
@bill*
A: [Last month you paid|Your last bill was] {bill}.
B: [I know|Right], {bill}.
--
B: I paid {bill} last month[.|, can you imagine?]
A: {bill}, [I see it here|yes, that's right].
@months*
B: How long [does a contract run|am I bound]?
A: {months} months[|, at least].
--
A: [Every plan|Each plan] runs for {months} months.
B: {months} months, [fine|okay].
@hold*?
B: [Your music is nice, at least|I was on hold for an hour].
A: [Many people call today|I'm sorry about the wait].
@setting
{B} with customer number {code} calls {A} because {trouble}.
{B} talks to {A} about a phone plan since {trouble}. The customer number is {code}.
{A} takes a call from {B}, customer number {code}, who wants another plan, as {trouble}.
@detail
The last bill was {bill}. || {B} paid {bill} last month.
A plan runs for {months} months. || The contract lasts {months} months.
@ask
What is the customer number? = {code}
Why does the customer call? = because {trouble}
How much was the last bill? = {bill}
"""


SITUATIONS = (RESTAURANT, LIBRARY, BANK, POST, CAR_REPAIR, RETURN, PHONE_PLAN)
